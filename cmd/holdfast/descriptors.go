package main

import (
	"fmt"

	"github.com/rs/zerolog"
)

// usualConnections is for how many connections there should be descriptors
// beside those of files.
const usualConnections = 2000

// fewestDescriptors is with how many a process begins that keeps data in so
// many directories: with fewer, copies of the catalog stop under little load.
// A directory takes up to 28 while nothing happens. A gateway of a cluster has
// none, and needs connections only.
func fewestDescriptors(dirs int) int { return 64 + 32*dirs + 32*min(dirs, 3) }

// checkDescriptors refuses a limit of open files with which the process could
// not work, and warns of one that is too low for much data or many clients. The
// runtime has raised the soft limit to the hard one before. A limit of 0 is not
// known.
func checkDescriptors(limit uint64, dirs int, log zerolog.Logger) error {
	wanted := dirs*filesPerDir + usualConnections
	if limit == 0 || limit >= uint64(wanted) {
		return nil
	}
	if fewest := fewestDescriptors(dirs); limit < uint64(fewest) {
		who, much := fmt.Sprintf("%d directories need", dirs), "much data"
		if dirs == 0 {
			who, much = "connections to clients and storage nodes need", "many clients"
		}
		return fmt.Errorf("%d files may be open at once, and %s %d at least and %d for %s: raise the limit with ulimit -n %[4]d, LimitNOFILE=%[4]d in the unit, or --ulimit nofile=%[4]d of a container",
			limit, who, fewest, wanted, much)
	}
	log.Warn().Uint64("limit", limit).Int("wanted", wanted).
		Msg("few files may be open at once: raise the limit with ulimit -n, LimitNOFILE in the unit or --ulimit nofile of a container, or requests fail under load")
	return nil
}

package allinone

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"holdfast/erasure"
	"holdfast/internal/vfs"
)

// ErrRefused wraps every refusal to start on the given directories. The text
// says what to do.
var ErrRefused = errors.New("refusing to start")

// survey is what the given directories hold before anything is opened.
type survey struct {
	layout  *Layout            // of the highest revision; nil if there is none
	layouts map[string]*Layout // by directory
	empty   []string           // directories that hold nothing
}

// look reads every directory's layout file. It changes nothing.
func look(fs vfs.FS, dirs []string) (*survey, error) {
	s := &survey{layouts: map[string]*Layout{}}
	for _, dir := range dirs {
		l, err := readLayout(fs, dir)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if l == nil {
			if err := s.addBare(fs, dir); err != nil {
				return nil, err
			}
			continue
		}
		if s.layout != nil && l.Cluster != s.layout.Cluster {
			return nil, fmt.Errorf("%w: %s belongs to server %s and the other directories to %s; give one server's directories only",
				ErrRefused, dir, l.Cluster, s.layout.Cluster)
		}
		s.layouts[dir] = l
		if s.layout == nil || newer(l, s.layout) {
			s.layout = l
		}
	}
	return s, nil
}

func newer(a, b *Layout) bool {
	if a.Ready != b.Ready {
		return a.Ready
	}
	return a.Revision > b.Revision
}

// addBare notes a directory without a layout file, which must be empty.
func (s *survey) addBare(fs vfs.FS, dir string) error {
	ok, err := empty(fs, dir)
	if err != nil {
		return fmt.Errorf("%w: %s cannot be read: %w", ErrRefused, dir, err)
	}
	if !ok {
		if _, err := fs.Stat(fs.PathJoin(dir, "holdfast.id")); err == nil {
			return fmt.Errorf("%w: %s is a storage node without %s; copy that file from another directory of its server", ErrRefused, dir, layoutFile)
		}
		if name := foreign(fs, dir); name != "" {
			return fmt.Errorf("%w: %s is not empty (%s is in it) and is no data directory of Holdfast; give an empty one", ErrRefused, dir, name)
		}
		return fmt.Errorf("%w: %s has files of Holdfast, but neither %s nor holdfast.id; put them back, or give an empty directory", ErrRefused, dir, layoutFile)
	}
	s.empty = append(s.empty, dir)
	return nil
}

// first reports whether this is a first start: no directory was ever ready.
func (s *survey) first() bool { return s.layout == nil || !s.layout.Ready }

// missingNodes returns the members whose directories are not among the given,
// or are empty now.
func (s *survey) missingNodes(dirs map[string]bool) []Member {
	var missing []Member
	for _, m := range s.layout.Nodes {
		if !m.Gone && (!dirs[m.Dir] || s.layouts[m.Dir] == nil) {
			missing = append(missing, m)
		}
	}
	return missing
}

// chooseScheme parses the asked scheme, "" for the default, at a first start.
func chooseScheme(asked string, dirs int) (erasure.Scheme, error) {
	if asked == "" {
		return erasure.DefaultScheme(dirs), nil
	}
	sc, err := erasure.ParseScheme(asked)
	if err != nil {
		return sc, err
	}
	if sc.Width() > dirs {
		return sc, fmt.Errorf("%w: --scheme %s needs %d directories and %d are given; give more directories or a narrower scheme", ErrRefused, sc, sc.Width(), dirs)
	}
	return sc, nil
}

// checkScheme refuses a --scheme other than the one fixed at the first start.
func checkScheme(asked string, l *Layout) error {
	if asked == "" || asked == l.Scheme {
		return nil
	}
	return fmt.Errorf("%w: this server was made with --scheme %s and %s is asked for; leave the flag out, or copy the data to a server made with the other scheme", ErrRefused, l.Scheme, asked)
}

// tryWrite makes a file in dir and removes it again.
func tryWrite(fs vfs.FS, dir string) error {
	name := fs.PathJoin(dir, layoutFile+".tmp")
	if err := fs.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := fs.OpenFile(name, vfs.CreateNew)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), fs.Remove(name))
}

// makeDirs creates directories that do not exist, and says what to do where
// that is not allowed.
func makeDirs(fs vfs.FS, dirs []string) error {
	for _, d := range dirs {
		if err := vfs.MakeDir(fs, d); err != nil {
			return fmt.Errorf("%w: %s cannot be made by user %d: %v; create it and run: chown %d %s", ErrRefused, d, os.Getuid(), err, os.Getuid(), shellQuote(d))
		}
	}
	return nil
}

// minFree is the least free bytes of a disk with a copy of the catalog, beside
// 3 % of it; with less the catalog takes no growth (SAFETY B5). A first start
// takes some more, for what it makes.
const (
	minFree   = 2 << 30
	firstFree = 256 << 20
)

// checkRoom refuses a first start whose catalog would be full at once.
func checkRoom(fs vfs.FS, dirs []string) error {
	for _, d := range dirs {
		at := d
		for {
			if _, err := fs.Stat(at); !errors.Is(err, os.ErrNotExist) || fs.PathDir(at) == at {
				break
			}
			at = fs.PathDir(at)
		}
		u, err := fs.GetDiskUsage(at)
		if err != nil {
			continue // not known: the catalog does not refuse either
		}
		if need := max(minFree, u.TotalBytes/100*3) + firstFree; u.AvailBytes < need {
			return fmt.Errorf("%w: the disk of %s has %d MiB free and a copy of the catalog needs %d MiB; free some, or give a directory on another disk",
				ErrRefused, d, u.AvailBytes>>20, need>>20)
		}
	}
	return nil
}

// explainDenied adds to an error whose right is missing on which directory.
func explainDenied(dirs []string, err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	var p *os.PathError
	var l *os.LinkError
	path := ""
	switch {
	case errors.As(err, &p):
		path = p.Path
	case errors.As(err, &l):
		path = l.New
	}
	for _, d := range dirs {
		if path == d || strings.HasPrefix(path, d+string(os.PathSeparator)) {
			return fmt.Errorf("%w; %s", err, Ownership(d))
		}
	}
	return err
}

// Ownership says what this process must be allowed to do with a directory, and
// how to allow it.
func Ownership(dir string) string {
	return fmt.Sprintf("the server runs as user %d, who must be able to read, write and enter %s and to enter what is above it: chown -R %d %s",
		os.Getuid(), dir, os.Getuid(), shellQuote(dir))
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

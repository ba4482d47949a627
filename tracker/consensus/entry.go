package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A log entry's data is a version byte, 1, and commands, each with its length
// as an unsigned varint before it. A command of no bytes is a read mark: it
// changes nothing and the machine does not see it.
const entryVersion = 1

const (
	// MaxCommand is the greatest size of a command in bytes.
	MaxCommand = 4 << 20
	// Commands are gathered into an entry up to these bounds; one command
	// over the bytes travels alone.
	batchCommands = 256
	batchBytes    = 256 << 10
)

var errEntry = errors.New("consensus: malformed entry")

func appendCommand(b, cmd []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(cmd))), cmd...)
}

// splitEntry appends the commands of an entry, read marks left out, to cmds.
// They point into b.
func splitEntry(b []byte, cmds [][]byte) ([][]byte, error) {
	if len(b) == 0 || b[0] != entryVersion {
		return nil, fmt.Errorf("%w: unknown version", errEntry)
	}
	for b = b[1:]; len(b) > 0; {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > MaxCommand || uint64(len(b)-k) < n {
			return nil, fmt.Errorf("%w: length of a command", errEntry)
		}
		end := k + int(n)
		if n > 0 {
			cmds = append(cmds, b[k:end:end])
		}
		b = b[end:]
	}
	return cmds, nil
}

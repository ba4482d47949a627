package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxDirs bounds the directories of one server.
const maxDirs = 256

// expandDirs expands {A...B} ranges in each argument, so that /disk{1...8}
// stands for eight directories, and makes every path absolute.
func expandDirs(args []string) ([]string, error) {
	var dirs []string
	seen := map[string]bool{}
	for _, arg := range args {
		some, err := expandRange(arg)
		if err != nil {
			return nil, err
		}
		for _, d := range some {
			abs, err := filepath.Abs(d)
			if err != nil {
				return nil, err
			}
			if seen[abs] {
				return nil, fmt.Errorf("directory %s is named twice", abs)
			}
			if info, err := os.Stat(abs); err == nil && !info.IsDir() {
				return nil, fmt.Errorf("%s is a file; give a directory", abs)
			}
			seen[abs] = true
			dirs = append(dirs, abs)
			if len(dirs) > maxDirs {
				return nil, fmt.Errorf("over %d directories", maxDirs)
			}
		}
	}
	return dirs, nil
}

func expandRange(arg string) ([]string, error) {
	open := strings.IndexByte(arg, '{')
	if open < 0 {
		return []string{arg}, nil
	}
	end := strings.IndexByte(arg[open:], '}')
	if end < 0 {
		return nil, fmt.Errorf("%s: { without }", arg)
	}
	end += open
	lo, hi, ok := strings.Cut(arg[open+1:end], "...")
	from, err1 := strconv.Atoi(lo)
	to, err2 := strconv.Atoi(hi)
	if !ok || err1 != nil || err2 != nil || from < 0 || to < from || to-from >= maxDirs {
		return nil, fmt.Errorf("%s: a range is written {1...8}", arg)
	}
	tails, err := expandRange(arg[end+1:])
	if err != nil {
		return nil, err
	}
	width := 0
	if len(lo) > 1 && lo[0] == '0' {
		width = len(lo)
	}
	var out []string
	for i := from; i <= to; i++ {
		for _, tail := range tails {
			out = append(out, fmt.Sprintf("%s%0*d%s", arg[:open], width, i, tail))
		}
	}
	return out, nil
}

package allinone

import (
	"fmt"
	"io/fs"
	"syscall"
)

func deviceOf(st fs.FileInfo, dir string) string {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("dev-%d", s.Dev)
	}
	return dir
}

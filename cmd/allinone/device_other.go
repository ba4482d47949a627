//go:build !linux

package allinone

import "io/fs"

func deviceOf(_ fs.FileInfo, dir string) string { return dir }

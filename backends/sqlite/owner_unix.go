//go:build unix

package sqlite

import (
	"io/fs"
	"os"
	"syscall"
)

// likeOwner gives f the owner of another file, if this process is root, so that root
// and the owner can share a database.
func likeOwner(f *os.File, of fs.FileInfo) {
	if s, ok := of.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		_ = f.Chown(int(s.Uid), int(s.Gid))
	}
}

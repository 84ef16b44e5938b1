package qemu

import "os"

func freeSpace(string) (int64, bool) { return 0, false }

func inode(os.FileInfo) uint64 { return 0 }

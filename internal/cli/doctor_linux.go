package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"understudy/internal/cli/out"
)

func checkKernel() finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return warn("", "%v", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major int
	if _, err := fmt.Sscanf(release, "%d.", &major); err == nil && major < 5 {
		return warn("use Linux 5 or newer", "Linux %s", release)
	}
	return ok("Linux %s", release)
}

// checkClock asks the kernel whether something keeps the clock right: recovery points are named by their time.
func checkClock() finding {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		return warn("", "cannot ask the kernel: %v", err)
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return warn("set up time synchronisation: apt-get install chrony", "nothing keeps the clock right")
	}
	return ok("synchronised")
}

// leastSpace is how much free space is called too little, in bytes.
const leastSpace = 1 << 30

func checkSpace(dir string) finding {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return warn("", "%s: %v", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if free < leastSpace {
		return failing("free some space there, or use another folder with --data", "only %s free in %s", out.Bytes(free), dir)
	}
	return ok("%s free in %s", out.Bytes(free), dir)
}

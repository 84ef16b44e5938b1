// Package scratch makes temporary folders and files that do not outlive the process for long: what a killed one leaves
// is removed by the next that makes one of its kind at the same place. A lock, which ends with its process, tells which
// are in use.
package scratch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	prefix = "understudy-"
	// live is the file in a folder that is locked while the folder is in use.
	live = ".live"
	// young is the age below which an empty folder may be one that is just being made.
	young = time.Hour
)

// Dir makes a folder for this process in the place for temporary files. remove takes it away; it may be repeated.
func Dir() (dir string, remove func(), err error) {
	sweepDirs(os.TempDir(), time.Now())
	// Short, since a socket's path may have about 100 bytes.
	dir, err = os.MkdirTemp("", prefix)
	if err != nil {
		return "", nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, live), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	_ = lock(f) // where there are no locks nothing is swept either
	return dir, func() {
		_ = f.Close() // first, since some systems remove no open file; who sweeps it meanwhile does the same
		_ = os.RemoveAll(dir)
	}, nil
}

// sweepDirs removes the folders whose processes are gone. What it may not look into is somebody else's.
func sweepDirs(parent string, now time.Time) {
	found, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, dir := range found {
		f, err := os.OpenFile(filepath.Join(dir, live), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			// Killed before it had a lock, or no folder of ours: only an empty one goes.
			if st, err := os.Lstat(dir); err == nil && st.IsDir() && now.Sub(st.ModTime()) > young {
				_ = os.Remove(dir)
			}
			continue
		}
		if err != nil {
			continue
		}
		dead := lock(f) == nil
		_ = f.Close()
		if dead {
			_ = os.RemoveAll(dir)
		}
	}
}

// Part makes a file beside the one of a name, to be renamed to it when it is complete. It is locked while it is open,
// and parts of the same name that nobody has open are removed first.
func Part(file string) (*os.File, error) {
	pattern := "." + filepath.Base(file) + ".*.part"
	dir := filepath.Dir(file)
	if entries, err := os.ReadDir(dir); err == nil {
		for _, e := range entries {
			if ok, err := filepath.Match(escape(filepath.Base(file)), e.Name()); err == nil && ok && e.Type().IsRegular() {
				sweepPart(filepath.Join(dir, e.Name()))
			}
		}
	}
	f, err := os.CreateTemp(dir, pattern)
	if err == nil {
		_ = lock(f) // where there are no locks nothing is swept either
	}
	return f, err
}

// escape is the pattern of the parts of a name, in which nothing but the middle is a wild card.
func escape(base string) string {
	var b []byte
	for i := range len(base) {
		if c := base[i]; c == '*' || c == '?' || c == '[' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, base[i])
	}
	return "." + string(b) + ".*.part"
}

func sweepPart(name string) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	dead := lock(f) == nil
	_ = f.Close()
	if dead {
		_ = os.Remove(name)
	}
}

package qemu

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"understudy/internal/dr"
)

const (
	// maxSocketPath leaves room below the 108 bytes (104 on some systems) that the kernel allows.
	maxSocketPath = 99
	// socketName is the length of the longest name of a socket in its folder.
	socketName = len("/0123456789ab.agent")
)

// socketDir chooses and creates the folder of the unix sockets. Every controller of the same site finds the same one.
func socketDir(cfg Config) (string, error) {
	dir := cfg.SocketDir
	if dir == "" {
		dir = filepath.Join(cfg.Dir, "run", "s")
		if len(dir)+socketName > maxSocketPath {
			dir = filepath.Join(os.TempDir(), fmt.Sprintf("understudy-%d-%s", os.Getuid(), digest(cfg.Dir)))
		}
	}
	if len(dir)+socketName > maxSocketPath {
		return "", dr.WithHint(fmt.Errorf("qemu site: socket folder %s: path too long", dir), dr.KindInvalid,
			"choose a socket folder with a path of at most 80 bytes")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("qemu site: socket folder: %w", err)
	}
	// Whoever may open these sockets owns the machines; the folder may lie where others can create files.
	st, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("qemu site: socket folder: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return "", dr.WithHint(fmt.Errorf("qemu site: socket folder: %w", err), dr.KindInvalid, "remove "+dir)
		}
	}
	return dir, nil
}

// socket is the path of one of a machine's sockets: qmp or agent.
func (d *Driver) socket(machine, kind string) string {
	return filepath.Join(d.cfg.SocketDir, digest(machine)+"."+kind)
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

package console

import (
	"os"
	"path/filepath"
	"testing"

	"understudy/test/need"
)

// TestMay shows pages to somebody who may look at one group and rehearse another: web/test/may.mjs has what is asserted.
func TestMay(t *testing.T) {
	need.Tool(t, "qemu-img", "qemu-nbd")
	console(t)
	dir := t.TempDir()
	args := []string{"site", "add", "east", "--provider", "image"}
	for _, group := range []string{"shop", "bank"} {
		file := filepath.Join(dir, group+".raw")
		if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--set", "machine."+group+"="+file)
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("correct horse battery"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := serve(t, dir, "--listen", "127.0.0.1:0")
	c.run(t, args...)
	c.run(t, "vault", "add", "main", filepath.Join(dir, "vault"))
	for _, group := range []string{"shop", "bank"} {
		c.run(t, "protect", "--group", group, "--site", "east", "--vault", "main", "--machine", group)
		c.run(t, "sync", group)
	}
	c.run(t, "user", "add", "vera", "--role", "viewer", "--scope", "group:shop", "--password-file", password)
	c.run(t, "user", "grant", "vera", "drill-runner", "group:bank")
	c.browse(t, "may.mjs")
}

// Package console drives the web console in a browser, on a real controller.
package console

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/test/need"
)

// repository is the folder of go.mod, from here.
const repository = "../.."

// TestConsole makes the first administrator and goes through the pages as a person would: web/test/real.mjs has what is done
// and asserted. The groups are disk image files, so that no guest is booted.
func TestConsole(t *testing.T) {
	need.Tool(t, "qemu-img", "qemu-nbd")
	console(t)
	dir := t.TempDir()
	disk := make([]byte, 2<<20)
	_, _ = rand.Read(disk) // never fails
	for _, name := range []string{"shop-db.raw", "shop-web.raw"} {
		if err := os.WriteFile(filepath.Join(dir, name), disk, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := serve(t, dir, "--listen", "127.0.0.1:0")
	for _, args := range [][]string{
		{"site", "add", "east", "--provider", "image", "--set", "machine.shop-db=" + filepath.Join(dir, "shop-db.raw"), "--set", "machine.shop-web=" + filepath.Join(dir, "shop-web.raw")},
		{"vault", "add", "main", filepath.Join(dir, "vault")},
		{"policy", "set", "gold", "--rpo", "5s"},
		{"protect", "--group", "shop", "--site", "east", "--vault", "main", "--policy", "gold", "--machine", "shop-db:order=1", "--machine", "shop-web:order=2"},
		{"sync", "shop"},
	} {
		c.run(t, args...)
	}
	c.env = append(c.env, "UNDERSTUDY_DISK="+filepath.Join(dir, "shop-db.raw")) // what the browser finds in a point
	c.browse(t, "real.mjs")
}

// console needs a browser and the built console.
func console(t *testing.T) {
	t.Helper()
	need.Tool(t, "node", "chromium")
	for _, built := range []string{"web/dist/index.html", "web/node_modules/playwright-core/package.json"} {
		if _, err := os.Stat(filepath.Join(repository, built)); err != nil {
			need.Missing(t, "the console is not built: run `make web`")
		}
	}
}

// A controller is a process of `understudy serve`, with the program that was built for it.
type controller struct {
	program, data, url string
	env                []string
}

// serve runs a controller in a folder until the test ends.
func serve(t *testing.T, dir string, flags ...string) controller {
	t.Helper()
	c := controller{program: filepath.Join(dir, "understudy"), data: filepath.Join(dir, "data")}
	c.env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	run(t, nil, "go", "build", "-o", c.program, "understudy/cmd/understudy")
	var log bytes.Buffer
	cmd := exec.Command(c.program, append([]string{"serve", "--data", c.data}, flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("controller: %v", err)
		}
		if t.Failed() {
			t.Logf("the controller's log:\n%s", log.String())
		}
	})
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if url, err := os.ReadFile(filepath.Join(c.data, "api.url")); err == nil && len(url) > 0 {
			c.url = strings.TrimSpace(string(url))
			return c
		}
	}
	t.Fatal("the controller did not begin")
	return c
}

// run runs a command of the controller's user.
func (c controller) run(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, c.env, c.program, append(args, "--data", c.data)...)
}

// browse runs a script of web/test, which has the one-time token while there is no user.
func (c controller) browse(t *testing.T, script string) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(c.data, "bootstrap-token"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	env := append(c.env, "UNDERSTUDY_URL="+c.url, "UNDERSTUDY_BOOTSTRAP="+strings.TrimSpace(string(token)))
	t.Logf("%s", run(t, env, "node", filepath.Join(repository, "web/test", script)))
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

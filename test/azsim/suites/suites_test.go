package suites

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/test/azsim/sim"
	"understudy/test/need"
)

// TestSuites builds the suites from the module cache and runs them, each against a simulator of its own.
func TestSuites(t *testing.T) {
	if os.Getenv("UNDERSTUDY_TEST_ALL") != "1" {
		t.Skip("compiles large modules: run `make test`, or set UNDERSTUDY_TEST_ALL=1")
	}
	dir := workshop(t)
	for _, s := range suites {
		t.Run(s.pkg, func(t *testing.T) {
			t.Parallel()
			s.judge(t, dir)
		})
	}
}

func (s suite) judge(t *testing.T, dir string) {
	binary := s.build(t, dir)
	azure, err := sim.New(sim.Options{Dir: t.TempDir(), Regions: []string{"westeurope", "eastus"}, CopyTime: 10 * time.Millisecond, Polls: 1, RetryAfter: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer azure.Close()
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run", s.run, "-test.skip", s.skip, "-test.timeout", "5m")
	// The suites look for the folder that they live in.
	cmd.Dir = filepath.Join(t.TempDir(), "sdk", s.module)
	if err := os.MkdirAll(cmd.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "AZURE_RECORD_MODE=live", "PROXY_MANUAL_START=true", "LOCATION=westeurope", "SSL_CERT_FILE="+azure.CA(),
		"HTTPS_PROXY="+proxy(t, azure.URL()), "HTTP_PROXY=", "NO_PROXY=", "AZURE_STORAGE_ENCRYPTION_SCOPE=scope")
	for _, kind := range []string{"", "SECONDARY_", "PREMIUM_", "SOFT_DELETE_", "DATALAKE_", "IMMUTABLE_"} {
		name := "suite" + strings.ToLower(strings.ReplaceAll(kind, "_", ""))
		cmd.Env = append(cmd.Env, kind+"AZURE_STORAGE_ACCOUNT_NAME="+name, kind+"AZURE_STORAGE_ACCOUNT_KEY="+azure.Account(name, kind == "PREMIUM_"))
	}
	for k, v := range azure.Env() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	runErr := cmd.Run()
	results := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+/\S+) `).FindAllStringSubmatch(out.String(), -1) {
		results[m[2]] = m[1]
	}
	if len(results) == 0 {
		t.Fatalf("no test ran: %v\n%s", runErr, out.String())
	}
	passed, ran := 0, 0
	for _, name := range slices.Sorted(maps.Keys(results)) {
		known := s.passes(name)
		if results[name] != "SKIP" {
			ran++
		}
		switch ok := results[name] == "PASS"; {
		case ok && !known:
			t.Errorf("%s passes now: say so in the list", name)
		case !ok && known && results[name] != "SKIP":
			t.Errorf("%s does not pass any more", name)
		case ok:
			passed++
		}
	}
	if passed < s.least {
		t.Errorf("%d tests pass, and at least %d did: the suite lost some", passed, s.least)
	}
	t.Logf("%d of %d tests of %s pass, in %.1f s", passed, ran, s.pkg, time.Since(began).Seconds())
	if t.Failed() {
		t.Log(out.String())
	}
}

// workshop makes the module in which the suites are built: it needs those of the SDK. It is kept, so that what did not change is not built again.
func workshop(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(need.Cache(), "suites")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, importing := "module suites\n\ngo 1.26\n", "package suites\n"
	done := map[string]bool{}
	for _, s := range suites {
		importing += fmt.Sprintf("\nimport _ %q\n", sdk+s.pkg)
		if done[s.module] {
			continue
		}
		done[s.module] = true
		mod += fmt.Sprintf("\nrequire %s %s\n", sdk+s.module, s.version)
		if len(s.enable) > 0 {
			mod += fmt.Sprintf("\nreplace %s => ./%s\n", sdk+s.module, s.copied(t, dir))
		}
	}
	write(t, filepath.Join(dir, "go.mod"), mod)
	write(t, filepath.Join(dir, "suites.go"), importing)
	command(t, dir, "mod", "tidy")
	return dir
}

// copied makes a copy of a module in which tests that are switched off there are switched on, and returns its folder's name.
func (s suite) copied(t *testing.T, dir string) string {
	t.Helper()
	name := strings.ReplaceAll(s.module, "/", "-") + "@" + s.version
	into := filepath.Join(dir, name)
	if _, err := os.Stat(into); err != nil {
		var module struct{ Dir string }
		if err := json.Unmarshal(command(t, dir, "mod", "download", "-json", sdk+s.module+"@"+s.version), &module); err != nil {
			t.Fatal(err)
		}
		part := into + ".part"
		_ = os.RemoveAll(part) // of a run that was killed
		if err := os.CopyFS(part, os.DirFS(module.Dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(part, into); err != nil {
			t.Fatal(err)
		}
	}
	text := "package " + strings.Split(s.module, "/")[2] + "_test\n\nimport \"testing\"\n"
	for _, test := range s.enable {
		text += fmt.Sprintf("\nfunc %s(t *testing.T) { T%s(t) }\n", test, test)
	}
	write(t, filepath.Join(into, "enabled_live_test.go"), text)
	return name
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if have, err := os.ReadFile(name); err == nil && string(have) == text {
		return
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// build compiles the tests of a package of the SDK.
func (s suite) build(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "suite.test")
	command(t, dir, "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", binary, sdk+s.pkg)
	return binary
}

// command runs the go command and returns what it printed.
func command(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out
}

// proxy leads whatever host the suites ask for to the simulator.
func proxy(t *testing.T, to string) string {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go tunnel(c, target.Host)
		}
	}()
	return "http://" + l.Addr().String()
}

func tunnel(c net.Conn, to string) {
	defer c.Close()
	in := bufio.NewReader(c)
	if r, err := http.ReadRequest(in); err != nil || r.Method != http.MethodConnect {
		return
	}
	d, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer d.Close()
	fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(d, in); d.Close() }()
	_, _ = io.Copy(c, d)
}

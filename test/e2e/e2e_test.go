// Package e2e runs the real program on real machines.
package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/demo"
	"understudy/test/need"
)

// program builds understudy once for all tests.
var program string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Getenv("UNDERSTUDY_TEST_ALL") != "1" {
		os.Exit(m.Run()) // every test skips
	}
	dir, err := os.MkdirTemp("", "understudy-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "understudy")
	build := exec.Command("go", "build", "-o", program, "understudy/cmd/understudy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// TestDemo runs the demonstration as a user would and reads its JSON.
func TestDemo(t *testing.T) {
	guest := need.Guest(t)
	before := processes(t)
	cmd := exec.Command(program, "demo", "-o", "json", "--guest", guest)
	var out, story bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &story
	began := time.Now()
	err := cmd.Run()
	t.Logf("took %.0f s\n%s", time.Since(began).Seconds(), story.String())
	if err != nil {
		t.Fatalf("demo: %v", err)
	}
	var s demo.Summary
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatalf("the last line is no JSON object: %v\n%s", err, out.String())
	}
	if !s.OK || s.Acknowledged == 0 || s.Recovered == 0 || s.Acknowledged-min(s.Recovered, s.Acknowledged) != s.Lost ||
		s.RPOSeconds < 0 || s.RTOSeconds <= 0 || s.BytesMoved <= 0 || len(s.Checks) < 8 {
		t.Errorf("summary: %+v", s)
	}
	for pid, line := range processes(t) {
		if _, old := before[pid]; !old && strings.Contains(line, "understudy-demo-") {
			t.Errorf("left running: %s %s", pid, line)
		}
	}
}

// processes maps process IDs to command lines.
func processes(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil {
			found[filepath.Base(filepath.Dir(f))] = string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
	return found
}

// TestDemoAzure plays the demonstration in the simulated Azure, which needs no guest.
func TestDemoAzure(t *testing.T) {
	if program == "" {
		t.Skip("set UNDERSTUDY_TEST_ALL=1 to play the demonstration")
	}
	simulator := filepath.Join(t.TempDir(), "azsim")
	if out, err := exec.Command("go", "build", "-o", simulator, "understudy/test/azsim").CombinedOutput(); err != nil {
		t.Fatalf("build the simulator: %v\n%s", err, out)
	}
	cmd := exec.Command(program, "demo", "azure", "-o", "json", "--simulator", simulator)
	var out, story bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &story
	err := cmd.Run()
	t.Log(story.String())
	if err != nil {
		t.Fatalf("demo azure: %v", err)
	}
	var s demo.Summary
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatalf("no JSON object: %v\n%s", err, out.String())
	}
	if !s.OK || s.Recovered == 0 || s.Acknowledged-min(s.Recovered, s.Acknowledged) != s.Lost || s.Extensions != 2 || s.RTOSeconds <= 0 || len(s.Checks) < 8 {
		t.Errorf("summary: %+v", s)
	}
}

package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// exitCode runs `code N PROGRAM ARG...` and checks the exit code and that an error is one line and a hint.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if want == 0 {
		return
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile("stderr")), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "understudy: ") && !strings.HasPrefix(last, "hint: ") {
		ts.Fatalf("the error does not end in a line of ours: %q", last)
	}
}

// waitLimit is how long a script waits for a file.
const waitLimit = 20 * time.Second

// waitFor waits until a file exists: the sign of a program in the background.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	for end := time.Now().Add(waitLimit); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

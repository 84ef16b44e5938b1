// Command summary runs `go test -json` commands, each after a "--", and tells what matters of them: a line per package, everything
// about what failed or was skipped, and the totals alone on the last line. It fails when a test failed, when one was skipped, when
// nothing ran, and when a command failed in any other way.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	s := newSummary(os.Stdout)
	for _, command := range split(os.Args[1:]) {
		if err := s.run(command); err != nil {
			fmt.Printf("FAIL %s: %v\n", strings.Join(command[:min(2, len(command))], " "), err)
			s.broken = true
		}
	}
	if !s.finish() {
		os.Exit(1)
	}
}

// split divides the arguments at each "--".
func split(args []string) [][]string {
	var commands [][]string
	for _, arg := range args {
		if arg == "--" {
			commands = append(commands, nil)
		} else if len(commands) > 0 {
			commands[len(commands)-1] = append(commands[len(commands)-1], arg)
		}
	}
	return slices.DeleteFunc(commands, func(c []string) bool { return len(c) == 0 })
}

// An event is a line of `go test -json`; see `go doc test2json` and `go help buildjson`.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

type summary struct {
	w                       io.Writer
	output                  map[string][]string // by package, a blank and test; by import path for a build
	ran                     map[string]int      // tests by package
	passed, failed, skipped int
	broken                  bool
	skips                   []string
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, output: map[string][]string{}, ran: map[string]int{}}
}

func (s *summary) run(command []string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failed := s.failed
	s.read(out)
	err = cmd.Wait()
	if err != nil && s.failed > failed {
		return nil // told already
	}
	return err
}

func (s *summary) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if len(line) > 0 {
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(s.w, "%s", line)
			} else {
				s.add(e)
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *summary) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		s.output[e.ImportPath] = append(s.output[e.ImportPath], e.Output)
	case "output":
		s.output[key] = append(s.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.packageDone(e)
			return
		}
		s.ran[e.Package]++
		switch e.Action {
		case "pass":
			s.passed++
		case "fail":
			s.failed++
			fmt.Fprintf(s.w, "\nFAIL %s %s (%.1fs)\n%s\n", e.Package, e.Test, e.Elapsed, strings.Join(s.output[key], ""))
		case "skip":
			s.skipped++
			s.skips = append(s.skips, "SKIP "+e.Package+" "+e.Test+"\n"+strings.Join(s.output[key], ""))
		}
		delete(s.output, key)
	}
}

func (s *summary) packageDone(e event) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(s.w, "ok   %-50s %6.1fs  %d tests\n", e.Package, e.Elapsed, s.ran[e.Package])
	case "fail":
		failed := s.failed
		fmt.Fprintf(s.w, "FAIL %-50s %6.1fs\n%s%s", e.Package, e.Elapsed, strings.Join(s.output[e.FailedBuild], ""), strings.Join(s.output[e.Package+" "], ""))
		// What never got a result was cut off by a panic, a timeout or a kill: it is the failure.
		for key, lines := range s.output {
			if strings.HasPrefix(key, e.Package+" ") && key != e.Package+" " {
				fmt.Fprintf(s.w, "FAIL %s (no result)\n%s\n", key, strings.Join(lines, ""))
				s.failed++
			}
		}
		if s.ran[e.Package] == 0 && s.failed == failed {
			s.failed++ // it did not even start
		}
		s.broken = true
	}
	for key := range s.output {
		if strings.HasPrefix(key, e.Package+" ") {
			delete(s.output, key)
		}
	}
}

// finish prints the totals and reports whether all is well.
func (s *summary) finish() bool {
	for _, skip := range s.skips {
		fmt.Fprint(s.w, "\n", skip)
	}
	ok := true
	for _, bad := range []struct {
		is  bool
		why string
	}{
		{s.skipped > 0, "tests were skipped: in this run nothing may be missing"},
		{s.passed+s.failed+s.skipped == 0, "nothing ran"},
		{s.failed == 0 && s.broken, "a command or a package failed outside its tests"},
		{s.failed > 0, "tests failed"},
	} {
		if bad.is {
			fmt.Fprintln(s.w, "summary:", bad.why)
			ok = false
		}
	}
	fmt.Fprintf(s.w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return ok
}

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	pass := `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1}
{"Action":"pass","Package":"p","Elapsed":1.5}
`
	tests := []struct {
		name, input string
		ok          bool
		last        string
		says        []string
	}{
		{"all pass", pass, true, "1 passed, 0 failed, 0 skipped", []string{"ok   p "}},
		{"a package without tests", pass + `{"Action":"skip","Package":"q","Elapsed":0}`, true, "1 passed, 0 failed, 0 skipped", nil},
		{"nothing ran", `{"Action":"skip","Package":"q","Elapsed":0}`, false, "0 passed, 0 failed, 0 skipped", []string{"nothing ran"}},
		{"a failure is told in full", pass + `{"Action":"output","Package":"q","Test":"TestB","Output":"why it broke\n"}
{"Action":"fail","Package":"q","Test":"TestB","Elapsed":2}
{"Action":"fail","Package":"q","Elapsed":2}`, false, "1 passed, 1 failed, 0 skipped", []string{"FAIL q TestB", "why it broke"}},
		{"a skip fails", pass + `{"Action":"output","Package":"q","Test":"TestB","Output":"no tool\n"}
{"Action":"skip","Package":"q","Test":"TestB"}
{"Action":"pass","Package":"q"}`, false, "1 passed, 0 failed, 1 skipped", []string{"SKIP q TestB", "no tool"}},
		{"a build failure", pass + `{"Action":"build-output","ImportPath":"q [q.test]","Output":"undefined: x\n"}
{"Action":"build-fail","ImportPath":"q [q.test]"}
{"Action":"fail","Package":"q","FailedBuild":"q [q.test]"}`, false, "1 passed, 1 failed, 0 skipped", []string{"undefined: x"}},
		{"a panic leaves a test without result", `{"Action":"output","Package":"q","Test":"TestC","Output":"panic: oh\n"}
{"Action":"fail","Package":"q"}`, false, "0 passed, 1 failed, 0 skipped", []string{"panic: oh"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			s := newSummary(&b)
			s.read(strings.NewReader(tt.input))
			ok := s.finish()
			lines := strings.Split(strings.TrimSpace(b.String()), "\n")
			if ok != tt.ok || lines[len(lines)-1] != tt.last {
				t.Fatalf("ok %v, last line %q; want %v, %q\n%s", ok, lines[len(lines)-1], tt.ok, tt.last, b.String())
			}
			for _, text := range tt.says {
				if !strings.Contains(b.String(), text) {
					t.Errorf("does not say %q:\n%s", text, b.String())
				}
			}
		})
	}
}

func TestCommandThatFailsOutsideTests(t *testing.T) {
	var b bytes.Buffer
	s := newSummary(&b)
	for _, command := range split([]string{"--", "sh", "-c", "exit 3", "--", "true"}) {
		if s.run(command) != nil {
			s.broken = true
		}
	}
	s.passed = 1
	if s.finish() {
		t.Fatal("a failed command passed")
	}
}

package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
)

func TestMonitorShow(t *testing.T) {
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	ended := began.Add(30 * time.Minute)
	run := wire.Operation{ID: "run/1", Title: "Run of 1.2309", State: "Failed", Outcome: "failed", Steps: []wire.OperationStep{
		{Name: "Prepare", Status: "Success", Started: &began, Ended: &ended},
		{Name: "Cloud Update", Status: "Error", Steps: []wire.OperationStep{{Name: "Restart Hosts", Status: "Error", Message: "host 3\nis gone"}}}}}
	answers := map[string]any{
		"/v1/monitors/stack":      wire.Monitor{Name: "stack", Site: "hub", Every: wire.Duration(time.Minute), Way: "privileged endpoint at 10.0.0.1", Failures: 4, Problem: "503", Operations: []wire.Operation{run}},
		"/v1/monitors/stack/test": wire.Look{Way: "privileged endpoint at 10.0.0.1", Problem: "503", Operations: []wire.Operation{run}},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answers[r.URL.Path]); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	const tree = `
Run of 1.2309, Failed
  Prepare  Success  30m0s
  Cloud Update  Error
    Restart Hosts  Error
        host 3
        is gone
`
	for command, want := range map[string]string{
		"show": "at the last look the privileged endpoint at 10.0.0.1 answered\n4 looks in a row failed: 503\n",
		"test": "the privileged endpoint at 10.0.0.1 answers\nit tells of what goes on only, since: 503\n",
	} {
		var text bytes.Buffer
		a := &App{Printer: &out.Printer{Out: &text, Err: &text}, Now: time.Now}
		root := a.root(nil)
		root.SetArgs([]string{"monitor", command, "stack", "--api", s.URL, "--token-file", token})
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := text.String(); !strings.Contains(got, want) || !strings.HasSuffix(got, tree) {
			t.Errorf("%s:\n%s", command, got)
		}
	}
}

package console

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"understudy/test/need"
)

// TestFailover plays the demonstration, on real machines, in the browser: web/test/failover.mjs has what is done and asserted.
func TestFailover(t *testing.T) {
	guest := need.Guest(t)
	console(t)
	program := filepath.Join(t.TempDir(), "understudy")
	run(t, nil, "go", "build", "-o", program, "understudy/cmd/understudy")
	stage := exec.Command(program, "demo", "console", "--guest", guest)
	tell, err := stage.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	heard, err := stage.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stage.Stderr = stage.Stdout
	var story bytes.Buffer
	if err := stage.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(io.TeeReader(heard, &story))
	url, token := opened(t, lines)
	told := make(chan struct{})
	go func() { // the rest of the story, until it ends
		defer close(told)
		for lines.Scan() {
		}
	}()
	t.Cleanup(func() {
		_, werr := io.WriteString(tell, "end\n")
		<-told
		if err := stage.Wait(); err != nil || werr != nil || t.Failed() {
			t.Errorf("the demonstration: %v %v\n%s", err, werr, story.String())
		}
	})

	play := exec.CommandContext(t.Context(), "node", filepath.Join(repository, "web/test/failover.mjs"))
	play.Env = append(os.Environ(), "UNDERSTUDY_URL="+url, "UNDERSTUDY_BOOTSTRAP="+token)
	play.Stderr = os.Stderr
	said, err := play.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := play.Start(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(said); s.Scan(); {
		if s.Text() != "kill" {
			t.Log(s.Text())
			continue
		}
		if _, err := io.WriteString(tell, "kill\n"); err != nil {
			t.Error(err)
		}
	}
	if err := play.Wait(); err != nil {
		t.Error(err)
	}
}

// opened waits until the stage is set, and returns the console's address and the one-time token.
func opened(t *testing.T, lines *bufio.Scanner) (url, token string) {
	t.Helper()
	for lines.Scan() {
		word, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		switch word {
		case "open":
			url = strings.TrimSpace(rest)
		case "token":
			token, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
			return url, token
		}
	}
	t.Fatal("the demonstration did not set its stage")
	return "", ""
}

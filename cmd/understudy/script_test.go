package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"understudy/internal/api/wire"
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

// receive starts a receiver of webhooks, whose URL is put into $NAME and whose bodies go to the file NAME, one a line.
func receive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: receive NAME")
	}
	var mu sync.Mutex
	file := ts.MkAbs(args[0])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		f, ferr := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err = errors.Join(err, ferr); err == nil {
			_, err = f.Write(append(body, '\n'))
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	ts.Defer(server.Close)
	ts.Setenv(args[0], server.URL)
}

// logIn logs a user in at the controller of a file with its URL, as a browser does, and keeps a token that the user makes.
func logIn(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: login URL-FILE USER PASSWORD TOKEN-FILE")
	}
	base := strings.TrimSpace(ts.ReadFile(args[0]))
	var cookies []*http.Cookie
	post := func(path string, in, out any) {
		body, err := json.Marshal(in)
		ts.Check(err)
		req, err := http.NewRequest(http.MethodPost, base+path, bytes.NewReader(body))
		ts.Check(err)
		req.Header.Set("Content-Type", "application/json")
		for _, c := range cookies {
			req.AddCookie(c)
		}
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			ts.Fatalf("%s: %s", path, resp.Status)
		}
		cookies = append(cookies, resp.Cookies()...)
		ts.Check(json.NewDecoder(resp.Body).Decode(out))
	}
	var session wire.Session
	post("/v1/session", wire.Login{User: args[1], Password: args[2]}, &session)
	var token wire.Token
	post("/v1/tokens", wire.TokenRequest{Name: args[1] + "s", Grants: session.Grants}, &token)
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), []byte(token.Secret), 0o600))
}

// retry runs a program until it succeeds and its output matches.
func retry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: retry PATTERN PROGRAM ARG...")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for end := time.Now().Add(waitLimit); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s is not in what it prints: %v", args[0], err)
		}
	}
}

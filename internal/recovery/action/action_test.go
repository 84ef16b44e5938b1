package action

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
)

// TestContext compares the context that programs get with a file; set UNDERSTUDY_UPDATE=1 to write it. Programs of
// other people read it: fields may be added, never renamed.
func TestContext(t *testing.T) {
	at := time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	c := Context{
		RecoveryPlanName: "shop-west", FailoverType: "Planned", FailoverDirection: "PrimaryToSecondary", GroupId: "1",
		VmMap: map[string]VM{"db": {ResourceGroupName: "west", CloudServiceName: "west", RoleName: "db", RecoveryPointId: "1-42"}},
		Understudy: Details{Run: "r1234abcd", Kind: "planned", Direction: "failover", Group: "shop", Source: "east", Target: "west", Vault: "main", Requested: at,
			Point: Point{"1-42", at}, Plan: "shop-west", Version: 3, Stage: "data", Action: "check rows", Attempt: 1, IdempotencyKey: Key("r1234abcd", "check rows"),
			Variables: map[string]string{"zone": "example.net"},
			Machines: []Machine{{Name: "db", As: "db", Stage: "data", Started: at, Healthy: at.Add(4 * time.Second), Ports: []Port{{5432, "127.0.0.1:40001"}}},
				{Name: "web", As: "web", Stage: "front"}}},
	}
	got, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata", "context.json")
	if os.Getenv("UNDERSTUDY_UPDATE") != "" {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, got, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != string(got) {
		t.Errorf("%v\n%s", err, got)
	}
	// Site Recovery's own example reads as ours.
	const theirs = `{"RecoveryPlanName":"hrweb-recovery","FailoverType":"Test","FailoverDirection":"PrimaryToSecondary","GroupId":"1",
		"VmMap":{"7a1069c6-c1d6-49c5-8c5d-33bfce8dd183":{"SubscriptionId":"7a1111111-c1d6-49c5-8c5d-111ce8dd183","ResourceGroupName":"ContosoRG",
		"CloudServiceName":"pod02hrweb-Chicago-test","RoleName":"Fabrikam-Hrweb-frontend-test","RecoveryPointId":"TimeStamp"}}}`
	d := json.NewDecoder(strings.NewReader(theirs))
	d.DisallowUnknownFields()
	var read Context
	if err := d.Decode(&read); err != nil || read.VmMap["7a1069c6-c1d6-49c5-8c5d-33bfce8dd183"].RoleName != "Fabrikam-Hrweb-frontend-test" {
		t.Errorf("%+v, %v", read, err)
	}
}

func run(t *testing.T, s Script) (string, error) {
	t.Helper()
	s.Scratch, s.Output = t.TempDir(), &Buffer{}
	err := s.Run(t.Context())
	return (&Scrubber{}).Tail(s.Output, 1000), err
}

func TestScript(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs sh")
	}
	t.Setenv("ACTION_TEST_PRIVATE", "private")
	for name, tt := range map[string]struct {
		s         Script
		out, fail string
	}{
		"argv":        {Script{Argv: []string{"echo", "a b"}}, "a b", ""},
		"text":        {Script{Text: "echo $0 | grep -c script; echo $X", Env: []string{"X=1"}}, "1\n1", ""},
		"interpreter": {Script{Text: "#!/bin/sh -e\nfalse\necho on"}, "", "exit status 1"},
		"env":         {Script{Text: "#!/usr/bin/env sh\necho here"}, "here", ""},
		"context":     {Script{Text: "cat; cat $UNDERSTUDY_CONTEXT", Stdin: []byte("{}\n")}, "{}\n{}", ""},
		"private":     {Script{Text: "echo \"[$ACTION_TEST_PRIVATE]\""}, "[]", ""},
		"signal":      {Script{Text: "kill -TERM $$"}, "", "signal: terminated"},
		"left behind": {Script{Text: "sleep 60 & echo $!"}, "", ""},
		"missing":     {Script{Argv: []string{"/no/such"}}, "", "start /no/such"},
		"no folder":   {Script{Argv: []string{"true"}, Dir: "/no/such"}, "", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, tt.s)
			if (err != nil) != (tt.fail != "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("%v, want %q", err, tt.fail)
			}
			if name == "left behind" {
				var pid int
				if _, err := fmt.Sscan(out, &pid); err != nil {
					t.Fatal(err)
				}
				if p, err := os.FindProcess(pid); err == nil {
					_ = p.Kill() // ours, by its number
				}
				return
			}
			if out != tt.out {
				t.Errorf("wrote %q, want %q", out, tt.out)
			}
		})
	}
}

// TestScriptEnds kills a script with its children when its time is over, and sees one that outlives its controller.
func TestScriptEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs sh")
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := Script{Text: "sh -c 'sleep 60; echo late' & echo begun; wait", Scratch: t.TempDir(), Output: &Buffer{}}
	over := make(chan error, 1)
	go func() { over <- s.Run(ctx) }()
	for began := time.Now(); !strings.Contains((&Scrubber{}).Tail(s.Output, 100), "begun"); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("it never began")
		}
	}
	if !Alive(s.Scratch) {
		t.Error("it is not seen to live")
	}
	cancel(cause)
	if err := <-over; !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	// The children were killed, too; the system lets go of them a moment later.
	for began := time.Now(); Alive(s.Scratch); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("its children live on")
		}
	}
	if Alive(t.TempDir()) {
		t.Error("what never was is seen to live")
	}
}

func TestSend(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(503)
		case "/moved":
			w.Header().Set("Location", "/")
			w.WriteHeader(302)
		case "/no":
			w.WriteHeader(404)
		case "/hang":
			<-r.Context().Done()
		}
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.Header.Get("Idempotency-Key"), r.Header.Get("X"))
	}))
	defer s.Close()
	for path, tt := range map[string]struct {
		expect []int
		kind   dr.Kind
	}{"/": {}, "/busy": {kind: dr.KindUnavailable}, "/no": {kind: dr.KindInvalid}, "/moved": {kind: dr.KindInvalid}, "/moved?": {expect: []int{302}}, "/no?": {expect: []int{404}}, "/?": {expect: []int{404}, kind: dr.KindInvalid}, "/hang": {kind: dr.KindInternal}} {
		t.Run(path, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			if path == "/hang" {
				ctx, stop = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			defer stop()
			out := &Buffer{}
			err := Request{Method: "PUT", URL: s.URL + path, Headers: map[string]string{"X": "y", "Host": "elsewhere"}, Expect: tt.expect, Key: "k", Output: out}.Send(ctx)
			if tt.kind == "" != (err == nil) || err != nil && dr.KindOf(err) != tt.kind {
				t.Errorf("%v (%s)", err, dr.KindOf(err))
			}
			if got := (&Scrubber{}).Tail(out, 100); path != "/hang" && got != "PUT elsewhere k y" {
				t.Errorf("%q", got)
			}
		})
	}
	s.Close()
	if err := (Request{Method: "GET", URL: s.URL + "/secret-path", Output: &Buffer{}}).Send(t.Context()); dr.KindOf(err) != dr.KindUnavailable || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("%v", err)
	}
}

func TestReadSecret(t *testing.T) {
	t.Setenv("ACTION_TEST_SECRET", "value")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("line 1\nline 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ env, file, want string }{
		{"ACTION_TEST_SECRET", "", "value"}, {"", file, "line 1\nline 2"}, {"ACTION_TEST_NONE", "", ""}, {"", empty, ""}, {"", file + "x", ""},
	} {
		got, err := ReadSecret("s", tt.env, tt.file)
		if got != tt.want || (err != nil) != (tt.want == "") || err != nil && (dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}

func TestScrub(t *testing.T) {
	s := &Scrubber{}
	s.Hide("p@ss/word")
	s.Hide("first long line\nsecond long line")
	for text, want := range map[string]string{
		"is p@ss/word.": "is ***.", "url p%40ss%2Fword": "url ***", "base cEBzcy93b3Jk!": "base ***!",
		"two first long line\nsecond long line": "two ***", "one second long line": "one ***", `json "first long line\nsecond long line"`: `json "***"`, "nothing": "nothing",
	} {
		if got := s.Clean(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if err := s.Error(dr.WithHint(errors.New("with p@ss/word"), dr.KindConflict, "not p@ss/word")); err.Error() != "with ***" || dr.Hint(err) != "not ***" || dr.KindOf(err) != dr.KindConflict {
		t.Errorf("%v", err)
	}
	// The part of a value that was cut away must not betray the rest of it.
	b := &Buffer{}
	for range 3 * keep / 9 {
		fmt.Fprint(b, "p@ss/word")
	}
	got := s.Tail(b, 4000)
	if strings.ContainsAny(got, "psword@/") || !strings.HasPrefix(got, "... ") || len(got) > 4004 {
		t.Errorf("%.40q", got)
	}
}

package store_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/store"
	"understudy/internal/watch"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_TEST_CHILD"); dir != "" {
		os.Exit(dyingChild(dir))
	}
	os.Exit(m.Run())
}

// ended tells of the end of a run.
func ended(r store.Run, p store.Protection) []notify.Event {
	return []notify.Event{{ID: "run-" + r.ID, Key: "failover/shop", Kind: notify.Failure, Severity: notify.Critical, Topic: notify.TopicFailover, Group: r.Group, Time: r.Ended, Source: "group " + r.Group, Subject: string(p.State)}}
}

// die ends the process as kill -9 does.
func die() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {}
}

// dyingChild ends a run, and dies in the transaction that records the end, or right after.
func dyingChild(dir string) int {
	hook := ended
	if os.Getenv("STORE_TEST_DIE") == "inside" {
		hook = func(store.Run, store.Protection) []notify.Event { die(); return nil }
	}
	ctx := context.Background()
	s, err := store.Open(ctx, filepath.Join(dir, "s.db"), store.Options{Ended: hook})
	if err != nil || endRun(ctx, s) != nil {
		return 1
	}
	die()
	return 2
}

func endRun(ctx context.Context, s *store.Store) error {
	return s.ChangeRunAndProtection(ctx, "r1", func(r *store.Run, p *store.Protection) error {
		r.State, r.Ended, p.State = store.RunFailed, time.Unix(1700000000, 0).UTC(), dr.StateFailoverFailed
		return nil
	})
}

// TestDeathAtTheEnd kills the process in the transaction that records the end of a run, and after it. Either the run has
// ended and that waits to be told, once, or neither.
func TestDeathAtTheEnd(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := configured(t, filepath.Join(dir, "s.db"))
	must(t, s.PutChannel(ctx, notify.Channel{Name: "ops", Kind: notify.Webhook, URL: "http://127.0.0.1:1"}))
	must(t, s.CreateRun(ctx, store.Run{ID: "r1", Kind: "failover", Group: "shop", State: store.RunRunning}, func(*store.Protection) error { return nil }))
	for _, where := range []string{"inside", "inside", "after"} {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), "STORE_TEST_CHILD="+dir, "STORE_TEST_DIE="+where)
		err := cmd.Run()
		if code := cmd.ProcessState.ExitCode(); err == nil || code == 1 || code == 2 {
			t.Fatalf("%s: the child was to die: %v", where, err)
		}
		run, err := s.Run(ctx, "r1")
		must(t, err)
		list, err := s.Notifications(ctx, store.NotificationFilter{})
		must(t, err)
		problems, err := s.Problems(ctx)
		must(t, err)
		want := 0
		if where == "after" {
			want = 1
		}
		if run.State.Ended() != (want == 1) || len(list) != want || len(problems) != want {
			t.Fatalf("%s: run %s, %d notifications, %d problems", where, run.State, len(list), len(problems))
		}
		if want == 1 && (list[0].Event.ID != "run-r1" || list[0].Event.Subject != string(dr.StateFailoverFailed) || list[0].State != store.NotificationWaiting) {
			t.Errorf("%+v", list[0])
		}
	}
	// A run that has ended is not told again when something of it is changed.
	again, err := store.Open(ctx, filepath.Join(dir, "s.db"), store.Options{Ended: ended})
	must(t, err)
	defer again.Close()
	_, err = again.ChangeRun(ctx, "r1", func(r *store.Run) error { r.CleanedBy = "r2"; return nil })
	must(t, err)
	if list, err := s.Notifications(ctx, store.NotificationFilter{}); err != nil || len(list) != 1 {
		t.Errorf("%d notifications, %v", len(list), err)
	}
}

func TestWatch(t *testing.T) {
	ctx := t.Context()
	s := open(t, filepath.Join(t.TempDir(), "s.db"))
	for _, name := range []string{"ops", "pager"} {
		must(t, s.PutChannel(ctx, notify.Channel{Name: name, Kind: notify.Webhook, URL: "http://127.0.0.1:1"}))
	}
	must(t, s.PutRule(ctx, notify.Rule{Name: "night", Channels: []string{"pager"}, Severity: notify.Critical}))
	wantKind(t, s.PutRule(ctx, notify.Rule{Name: "x", Channels: []string{"gone"}}), dr.KindInvalid, "gone")
	start := time.Now()
	look := func(at time.Duration, severity notify.Severity) {
		t.Helper()
		l := watch.Look{At: start.Add(at)}
		if severity != "" {
			l.Conditions = []watch.Condition{{End: "over", Event: notify.Event{Key: "lag/shop", Topic: notify.TopicLag, Severity: severity, Group: "shop", Subject: "lag"}}}
		}
		if _, err := s.Watch(ctx, l); err != nil {
			t.Fatal(err)
		}
	}
	got := func() (lines []string) {
		t.Helper()
		list, err := s.Notifications(ctx, store.NotificationFilter{Group: "shop", Topic: notify.TopicLag})
		must(t, err)
		for _, n := range list {
			lines = append([]string{n.Channel + " " + string(n.Event.Kind) + " " + string(n.Event.Severity)}, lines...)
		}
		return lines
	}
	look(0, notify.Warning)
	look(time.Second, notify.Critical)
	look(2*time.Second, notify.Critical)
	if open, err := s.Problems(ctx); err != nil || len(open) != 1 || open[0].Times != 2 {
		t.Errorf("%+v %v", open, err)
	}
	look(time.Minute, "")
	look(time.Minute+watch.Quiet, "")
	want := "ops problem warning\nops problem critical\npager problem critical\nops resolved critical\npager resolved critical"
	if s := strings.Join(got(), "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if open, err := s.Problems(ctx); err != nil || len(open) != 0 {
		t.Errorf("%+v %v", open, err)
	}
}

func TestDeadNotifications(t *testing.T) {
	ctx := t.Context()
	s := open(t, filepath.Join(t.TempDir(), "s.db"))
	must(t, s.PutChannel(ctx, notify.Channel{Name: "ops", Kind: notify.Webhook, URL: "http://127.0.0.1:1"}))
	for _, id := range []string{"a", "b", "c"} {
		must(t, s.Tell(ctx, notify.Event{ID: id, Subject: id}))
	}
	due, err := s.DueNotifications(ctx, time.Now(), 10)
	must(t, err)
	if len(due) != 3 {
		t.Fatalf("%d due", len(due))
	}
	for _, n := range due[:2] {
		n.State, n.Attempts, n.Problem = store.NotificationDead, 80, "down"
		must(t, s.SaveNotification(ctx, n, time.Now()))
	}
	sent := due[2]
	sent.State = store.NotificationSent
	must(t, s.SaveNotification(ctx, sent, time.Now()))
	must(t, s.PruneNotifications(ctx, 0))
	list, err := s.Notifications(ctx, store.NotificationFilter{})
	if err != nil || len(list) != 2 || list[0].Event.ID != "b" {
		t.Fatalf("what was given up stays: %+v %v", list, err)
	}
	if page, err := s.Notifications(ctx, store.NotificationFilter{Before: list[0].ID, Limit: 1}); err != nil || len(page) != 1 || page[0].Event.ID != "a" {
		t.Errorf("the next page: %+v %v", page, err)
	}
	n, err := s.RetryNotification(ctx, list[1].ID)
	if err != nil || n.State != store.NotificationWaiting || n.Attempts != 0 || n.Channel != "ops" || n.Event.ID != "a" {
		t.Errorf("%+v %v", n, err)
	}
	_, err = s.RetryNotification(ctx, list[1].ID)
	wantKind(t, err, dr.KindConflict, "waiting")
	_, err = s.DropNotification(ctx, list[0].ID)
	must(t, err)
	_, err = s.DropNotification(ctx, list[0].ID)
	wantKind(t, err, dr.KindNotFound, "no such notification")
	if due, err := s.DueNotifications(ctx, time.Now(), 10); err != nil || len(due) != 1 || due[0].Event.ID != "a" {
		t.Errorf("%+v %v", due, err)
	}
}

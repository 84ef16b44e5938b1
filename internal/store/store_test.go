package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/store"
)

func open(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, kind dr.Kind, text string) {
	t.Helper()
	if err == nil || dr.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Fatalf("got error %v (kind %s), want kind %s with %q", err, dr.KindOf(err), kind, text)
	}
}

var shop = dr.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "gold",
	Machines: []dr.MachinePolicy{{Name: "db", Order: 1, Probe: dr.Probe{Kind: dr.ProbeTCP, Port: 7000}}, {Name: "web", Order: 2}}}

func configured(t testing.TB, path string) *store.Store {
	t.Helper()
	s, ctx := open(t, path), t.Context()
	must(t, s.CreateSite(ctx, dr.Site{Name: "east", Provider: "qemu", Config: map[string]string{"dir": "/e"}}))
	must(t, s.CreateSite(ctx, dr.Site{Name: "west", Provider: "qemu"}))
	must(t, s.CreateVault(ctx, store.Vault{Name: "main", URL: "file:///v", KeyFile: "k"}))
	must(t, s.CreatePolicy(ctx, dr.Policy{Name: "gold", RPO: 5 * time.Second}))
	must(t, s.CreateGroup(ctx, shop))
	return s
}

func TestConfigurationSurvivesReopening(t *testing.T) {
	path, ctx := filepath.Join(t.TempDir(), "a b%?#.db"), t.Context()
	s := configured(t, path)
	must(t, s.Close())
	s = open(t, path)
	g, err := s.Group(ctx, "shop")
	must(t, err)
	if fmt.Sprint(g) != fmt.Sprint(shop) {
		t.Fatalf("got %+v", g)
	}
	v, err := s.Vault(ctx, "main")
	must(t, err)
	if v.URL != "file:///v" || v.KeyFile != "k" {
		t.Fatalf("got %+v", v)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}

func TestRules(t *testing.T) {
	s, ctx := configured(t, filepath.Join(t.TempDir(), "s.db")), t.Context()
	wantKind(t, s.CreateSite(ctx, dr.Site{Name: "east"}), dr.KindConflict, "taken")
	wantKind(t, s.DeleteSite(ctx, "west"), dr.KindConflict, "uses it")
	wantKind(t, s.DeleteVault(ctx, "main"), dr.KindConflict, "uses it")
	wantKind(t, s.DeletePolicy(ctx, "none"), dr.KindNotFound, "none")
	wantKind(t, s.CreateGroup(ctx, shop), dr.KindConflict, "exists")
	other := shop
	other.Name = "other"
	wantKind(t, s.CreateGroup(ctx, other), dr.KindConflict, "already in group shop")
	other.Vault = "nope"
	wantKind(t, s.CreateGroup(ctx, other), dr.KindNotFound, "nope")
	other.Vault, other.Site = "main", "west"
	must(t, s.CreateGroup(ctx, other))
	must(t, s.ChangeGroup(ctx, "other", func(g *dr.Group) error { g.Paused = true; return nil }))
	_, err := s.Group(ctx, "nope")
	wantKind(t, err, dr.KindNotFound, "nope")
	must(t, s.DeleteGroup(ctx, "other"))
	wantKind(t, s.DeleteGroup(ctx, "other"), dr.KindNotFound, "other")
	must(t, s.PutSite(ctx, dr.Site{Name: "east", Provider: "image"}))
}

func TestDueAndStatus(t *testing.T) {
	s, ctx := configured(t, filepath.Join(t.TempDir(), "s.db")), t.Context()
	now := time.Unix(1000, 0)
	due := func() []string {
		list, err := s.Due(ctx, now, 10)
		must(t, err)
		return list
	}
	if got := due(); len(got) != 1 {
		t.Fatalf("new group is not due: %v", got)
	}
	must(t, s.PutStatuses(ctx, []store.GroupStatus{{Group: "shop", NextDue: now.Add(1), LastPoint: "1-1"}, {Group: "gone"}}))
	if got := due(); len(got) != 0 {
		t.Fatalf("due too early: %v", got)
	}
	now = now.Add(1)
	if got := due(); len(got) != 1 {
		t.Fatalf("not due: %v", got)
	}
	must(t, s.ChangeGroup(ctx, "shop", func(g *dr.Group) error { g.Paused = true; return nil }))
	if got := due(); len(got) != 0 {
		t.Fatalf("paused and due: %v", got)
	}
	st, err := s.Status(ctx, "shop")
	must(t, err)
	if st.LastPoint != "1-1" {
		t.Fatalf("got %+v", st)
	}
}

func TestRuns(t *testing.T) {
	path, ctx := filepath.Join(t.TempDir(), "s.db"), t.Context()
	s := configured(t, path)
	same := func(*store.Protection) error { return nil }
	run := store.Run{ID: "r1abc", Kind: "test-failover", Group: "shop", State: store.RunPending, Requested: time.Unix(1, 0).UTC()}
	must(t, s.CreateRun(ctx, run, func(p *store.Protection) error { p.State = "x"; return nil }))
	second := run
	second.ID = "r1abd"
	wantKind(t, s.CreateRun(ctx, second, same), dr.KindConflict, "r1abc is under way")
	wantKind(t, s.DeleteGroup(ctx, "shop"), dr.KindConflict, "r1abc")
	refused := errors.New("refused")
	if err := s.ChangeRunAndProtection(ctx, "r1abc", func(r *store.Run, p *store.Protection) error {
		r.State, p.State = store.RunFailed, "y"
		return refused
	}); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	must(t, s.ChangeRunAndProtection(ctx, "r1abc", func(r *store.Run, p *store.Protection) error {
		if p.State != "x" || r.State != store.RunPending {
			t.Errorf("a refused change left a trace: %+v %+v", r, p)
		}
		r.State, r.Ended, p.State = store.RunSucceeded, time.Unix(2, 0), "z"
		return nil
	}))
	must(t, s.CreateRun(ctx, second, same))
	if _, err := s.Run(ctx, "r1ab"); dr.KindOf(err) != dr.KindInvalid {
		t.Fatalf("ambiguous: %v", err)
	}
	r, err := s.Run(ctx, "r1abd")
	must(t, err)
	if r.ID != "r1abd" {
		t.Fatal(r)
	}
	must(t, s.PutStep(ctx, store.Step{Run: "r1abc", Name: "b", Ordinal: 2}))
	must(t, s.PutStep(ctx, store.Step{Run: "r1abc", Name: "a", Ordinal: 3}))
	must(t, s.PutStep(ctx, store.Step{Run: "r1abc", Name: "b", Ordinal: 2, State: store.RunSucceeded}))
	must(t, s.Close())
	s = open(t, path)
	steps, err := s.Steps(ctx, "r1abc")
	must(t, err)
	if len(steps) != 2 || steps[0].Name != "b" || steps[0].State != store.RunSucceeded {
		t.Fatalf("got %+v", steps)
	}
	list, err := s.Runs(ctx, store.RunFilter{Group: "shop", Active: true})
	must(t, err)
	if len(list) != 1 || list[0].ID != "r1abd" {
		t.Fatalf("got %+v", list)
	}
}

func TestExportsFencesTokens(t *testing.T) {
	s, ctx := configured(t, filepath.Join(t.TempDir(), "s.db")), t.Context()
	e := store.Export{Run: "r", Group: "shop", Vault: "main", Point: "1-2", Disk: dr.DiskID{Machine: "db", Disk: "data"}, Name: "n", Socket: "/s"}
	must(t, s.PutExports(ctx, []store.Export{e, e}))
	list, err := s.Exports(ctx, "")
	must(t, err)
	if len(list) != 1 || list[0] != e {
		t.Fatalf("got %+v", list)
	}
	must(t, s.DeleteExports(ctx, "r"))
	if list, _ = s.Exports(ctx, "r"); len(list) != 0 {
		t.Fatalf("got %+v", list)
	}
	for range 2 {
		_, err = s.ChangeFence(ctx, "east", "db", func(f *store.Fence) error { f.Group, f.Run, f.Reason = "shop", "r", "failed over"; return nil })
		must(t, err)
	}
	fences, err := s.Fences(ctx, "shop")
	must(t, err)
	if len(fences) != 1 {
		t.Fatalf("got %+v", fences)
	}
	must(t, s.DeleteFence(ctx, "east", "db"))
	if fences, _ = s.Fences(ctx, ""); len(fences) != 0 {
		t.Fatalf("got %+v", fences)
	}
	secret, _, err := s.AddToken(ctx, store.Token{Name: "admin", Grants: access.Grants{{Role: access.Admin, Scope: access.Everywhere}}})
	must(t, err)
	tok, err := s.CheckToken(ctx, secret)
	must(t, err)
	if !tok.Grants.May(access.Configure, access.Object{}) {
		t.Fatal(tok)
	}
	_, err = s.CheckToken(ctx, secret+"x")
	wantKind(t, err, dr.KindNotFound, "not valid")
	must(t, s.DeleteToken(ctx, "admin"))
	_, err = s.CheckToken(ctx, secret)
	wantKind(t, err, dr.KindNotFound, "not valid")
}

func TestConcurrentUse(t *testing.T) {
	s := configured(t, filepath.Join(t.TempDir(), "s.db"))
	const writers, each = 8, 20
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var followed []store.Event
	done := make(chan error, 1)
	go func() {
		done <- s.Follow(ctx, store.EventFilter{Group: "shop"}, func(e store.Event) error {
			if followed = append(followed, e); len(followed) == writers*each {
				return errors.New("all seen")
			}
			return nil
		})
	}()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := s.AppendEvent(ctx, store.Event{Kind: "k", Group: "shop", Message: fmt.Sprint(w, i)}); err != nil {
					t.Error(err)
				}
				if err := s.PutStatuses(ctx, []store.GroupStatus{{Group: "shop", Failures: i}}); err != nil {
					t.Error(err)
				}
				if _, err := s.Groups(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := <-done; err == nil || err.Error() != "all seen" {
		t.Fatalf("follow ended with %v", err)
	}
	for i := 1; i < len(followed); i++ {
		if followed[i].Sequence <= followed[i-1].Sequence {
			t.Fatalf("events out of order at %d", i)
		}
	}
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	must(t, os.WriteFile(path, []byte(strings.Repeat("this is not a database. ", 100)), 0o600))
	_, err := store.Open(t.Context(), path, store.Options{})
	wantKind(t, err, dr.KindCorrupt, path)
	if !strings.Contains(dr.Hint(err), "vaults") {
		t.Fatalf("hint %q", dr.Hint(err))
	}

	good := filepath.Join(t.TempDir(), "g.db")
	s := configured(t, good)
	for i := range 300 {
		must(t, s.CreateSite(t.Context(), dr.Site{Name: fmt.Sprintf("site-%d", i), Provider: strings.Repeat("x", 200)}))
	}
	must(t, s.Close())
	data, err := os.ReadFile(good)
	must(t, err)
	for page := 30; page < len(data)/4096; page++ {
		copy(data[page*4096:], strings.Repeat("\xff", 64))
	}
	must(t, os.WriteFile(good, data, 0o600))
	_, err = store.Open(t.Context(), good, store.Options{})
	wantKind(t, err, dr.KindCorrupt, good)
}

func TestNewerFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	s := open(t, path)
	must(t, s.Close())
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec("INSERT INTO goose_db_version(version_id, is_applied) VALUES(999, 1)")
	must(t, err)
	must(t, db.Close())
	_, err = store.Open(t.Context(), path, store.Options{})
	wantKind(t, err, dr.KindConflict, "999")
	if _, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "no", "s.db"), store.Options{}); dr.KindOf(err) != dr.KindUnavailable {
		t.Fatalf("got %v", err)
	}
}

func TestPruneRuns(t *testing.T) {
	s, ctx := configured(t, filepath.Join(t.TempDir(), "s.db")), t.Context()
	same := func(*store.Protection) error { return nil }
	add := func(id, group string, requested, ended int64) {
		t.Helper()
		r := store.Run{ID: id, Group: group, State: store.RunSucceeded, Requested: time.Unix(requested, 0)}
		if ended > 0 {
			r.Ended = time.Unix(ended, 0)
		}
		must(t, s.CreateRun(ctx, r, same))
	}
	for i, id := range []string{"failover", "served", "old", "older", "newest"} {
		add(id, "shop", int64(10+i), int64(20+i))
	}
	add("clone1", "", 1, 2)
	add("clone2", "", 3, 0)
	must(t, s.PutStep(ctx, store.Step{Run: "old", Name: "a"}))
	must(t, s.PutExports(ctx, []store.Export{{Run: "served", Disk: dr.DiskID{Machine: "db", Disk: "data"}}}))
	_, err := s.ChangeProtection(ctx, "shop", func(p *store.Protection) error { p.Run = "failover"; return nil })
	must(t, err)
	if removed, err := s.PruneRuns(ctx, time.Unix(2, 0), 1); err != nil || len(removed) != 0 {
		t.Fatalf("removed %v, %v: nothing had ended before", removed, err)
	}
	removed, err := s.PruneRuns(ctx, time.Unix(1000, 0), 1)
	must(t, err)
	slices.Sort(removed)
	if want := []string{"clone1", "old", "older"}; !slices.Equal(removed, want) {
		t.Errorf("removed %v, want %v", removed, want)
	}
	if steps, err := s.Steps(ctx, "old"); err != nil || len(steps) != 0 {
		t.Errorf("steps of a removed run: %v, %v", steps, err)
	}
	if _, err := s.Run(ctx, "failover"); err != nil {
		t.Error(err)
	}
}

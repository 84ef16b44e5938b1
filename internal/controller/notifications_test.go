package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/notify"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/store"
)

// inbox is a receiver of webhooks.
type inbox struct {
	*httptest.Server
	mu   sync.Mutex
	got  map[string]notify.Event // by ID
	ids  []string                // in order, each once
	seen int
	// answer, when set, is asked what to answer to the n-th request; 0 means nothing at all.
	answer func(n int) int
}

func newInbox(t *testing.T) *inbox {
	in := &inbox{got: map[string]notify.Event{}}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender died
		}
		var e notify.Event
		if err := json.Unmarshal(body, &e); err != nil {
			t.Error(err)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.seen++
		status := http.StatusOK
		if in.answer != nil {
			status = in.answer(in.seen)
		}
		if old, ok := in.got[e.ID]; ok && (old.Subject != e.Subject || old.Text != e.Text || old.Kind != e.Kind) {
			t.Errorf("%s arrives again as something else: %+v, %+v", e.ID, old, e)
		} else if !ok && status == http.StatusOK {
			in.ids = append(in.ids, e.ID)
		}
		if status == http.StatusOK {
			in.got[e.ID] = e
		}
		w.WriteHeader(max(status, 100))
	}))
	t.Cleanup(in.Close)
	return in
}

// answers sets what is answered from now on.
func (in *inbox) answers(fn func(n int) int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.answer = fn
}

// find returns what arrived of a key and a kind.
func (in *inbox) find(key string, kind notify.Kind) (e notify.Event, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, id := range in.ids {
		if e := in.got[id]; e.Key == key && e.Kind == kind {
			return e, true
		}
	}
	return e, false
}

func (in *inbox) subjects() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var list []string
	for _, id := range in.ids {
		list = append(list, string(in.got[id].Kind)+" "+in.got[id].Subject)
	}
	return strings.Join(list, "\n")
}

// TestNews is a bad day of a group: paused and forgotten, failed over, its former site back, and the vault away.
func TestNews(t *testing.T) {
	in := newInbox(t)
	s := setUp(t)
	s.end()
	var ahead atomic.Int64 // of the clock
	s.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s.east.Now, s.west.Now = s.cfg.Now, s.cfg.Now
	open(t, s)
	ctx := t.Context()
	addMachine(t, s.east, "db")
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if err := s.PutChannel(ctx, notify.Channel{Name: "ops", Kind: notify.Webhook, URL: in.URL}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutNotificationSettings(ctx, notify.Settings{Console: "https://console.example"}); err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		if err := s.watchOnce(ctx); err != nil {
			t.Fatal(err)
		}
	}
	arrives := func(key string, kind notify.Kind) (e notify.Event) {
		t.Helper()
		eventually(t, key+" "+string(kind), func() (ok bool) { e, ok = in.find(key, kind); return ok })
		return e
	}
	if err := s.Pause(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	ahead.Add(int64(20 * time.Minute))
	look()
	ahead.Add(int64(20 * time.Minute))
	look()
	lag := arrives("lag/shop", notify.Problem)
	if lag.Group != "shop" || !strings.HasPrefix(lag.Loss, "40m") || lag.Link != "https://console.example/groups/shop" || !slices.Contains(lag.Next, "understudy resume shop") {
		t.Errorf("%+v", lag)
	}
	if err := s.Resume(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the lag", func() bool {
		if _, err := s.Sync(ctx, "shop"); err != nil {
			t.Fatal(err)
		}
		look()
		ahead.Add(int64(3 * time.Minute)) // the next round finds that it has been over for long enough
		_, ok := in.find("lag/shop", notify.Resolved)
		return ok
	})
	if e := arrives("lag/shop", notify.Resolved); e.Ends != lag.ID {
		t.Errorf("%+v does not end %s", e, lag.ID)
	}

	run, err := s.StartRun(ctx, recovery.KindFailover, "shop", "", "kim")
	if err != nil {
		t.Fatal(err)
	}
	s.reach(t, run, store.RunSucceeded)
	if e := arrives("failover/shop", notify.Success); e.ID != "run-"+run.ID || !strings.HasPrefix(e.Subject, "shop runs at west now") || strings.Join(e.Sites, " ") != "east west" {
		t.Errorf("%+v", e)
	}
	if err := s.east.Fence(ctx, "db", false, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.east.Power(ctx, "db", site.PowerStart); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stray is seen", func() bool { return status(t, s).Protection.SplitBrain })
	look()
	split := arrives("split-brain/shop", notify.Problem)
	if split.Severity != notify.Critical || !strings.Contains(split.Text, "db came back at east") {
		t.Errorf("%+v", split)
	}
	if run, err = s.StartRequest(ctx, recovery.Request{Kind: recovery.KindCommit, Group: "shop"}); err != nil {
		t.Fatal(err)
	}
	s.reach(t, run, store.RunSucceeded)
	if run, err = s.StartRequest(ctx, recovery.Request{Kind: recovery.KindResolve, Group: "shop", Keep: "west"}); err != nil {
		t.Fatalf("%v (%s)", err, dr.Hint(err))
	}
	s.reach(t, run, store.RunSucceeded)
	if e := arrives("split-brain/shop", notify.Success); e.Ends != split.ID || e.Severity != notify.Critical {
		t.Errorf("%+v does not end %s", e, split.ID)
	}

	v, err := s.Vault(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	folder := strings.TrimPrefix(v.URL, "file://")
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	s.probe(ctx)
	look()
	ahead.Add(int64(3 * time.Minute))
	look()
	away := arrives("vault/main", notify.Problem)
	if away.Severity != notify.Critical || !strings.Contains(away.Text, "shop") {
		t.Errorf("%+v", away)
	}
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	s.probe(ctx)
	look()
	ahead.Add(int64(3 * time.Minute))
	look()
	if e := arrives("vault/main", notify.Resolved); e.Ends != away.ID {
		t.Errorf("%+v does not end %s", e, away.ID)
	}
	if list, err := s.Notifications(ctx, store.NotificationFilter{State: store.NotificationDead}); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	t.Log("\n" + in.subjects())
}

// TestApprovalWanted: whoever can approve is told that somebody asks, once over a restart, and how it ended.
func TestApprovalWanted(t *testing.T) {
	in := newInbox(t)
	s := setUp(t)
	s.end()
	var ahead atomic.Int64 // of the clock
	s.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	open(t, s)
	ctx := t.Context()
	if err := s.PutChannel(ctx, notify.Channel{Name: "ops", Kind: notify.Webhook, URL: in.URL}); err != nil {
		t.Fatal(err)
	}
	ask := func(digest string) store.Approval {
		t.Helper()
		a, err := s.AskApproval(ctx, store.Approval{Verb: access.Configure, About: "forget site " + digest, Digest: digest, By: "ann", Person: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	look := func() {
		t.Helper()
		if err := s.watchOnce(ctx); err != nil {
			t.Fatal(err)
		}
	}
	arrives := func(a store.Approval, kind notify.Kind) (e notify.Event) {
		t.Helper()
		eventually(t, a.About+" "+string(kind), func() (ok bool) { e, ok = in.find("four-eyes/"+a.ID, kind); return ok })
		return e
	}
	east, west := ask("east"), ask("west")
	s.end() // before anybody was told
	open(t, s)
	look()
	told := arrives(east, notify.Problem)
	if told.Topic != notify.TopicApproval || told.Next[0] != "understudy approval approve "+east.ID {
		t.Errorf("%+v", told)
	}
	arrives(west, notify.Problem)
	if _, err := s.DecideApproval(ctx, east.ID, true, access.Caller{Name: "kim", Person: "kim"}, ""); err != nil {
		t.Fatal(err)
	}
	s.end()
	open(t, s)
	look()
	if e := arrives(east, notify.Resolved); e.Ends != told.ID || e.Subject != "kim approved that ann may forget site east" {
		t.Errorf("%+v", e)
	}
	if _, ok := in.find("four-eyes/"+west.ID, notify.Resolved); ok {
		t.Error("what still waits is over")
	}
	ahead.Add(int64(store.ApprovalWait + time.Minute))
	look()
	if e := arrives(west, notify.Resolved); e.Subject != "nobody answered in time whether ann may forget site west" {
		t.Errorf("%+v", e)
	}
	if n := strings.Count(in.subjects(), "forget site east"); n != 2 {
		t.Errorf("told %d times:\n%s", n, in.subjects())
	}
}

// TestRefusedNotification: what a receiver refuses for what it is does not hold up what comes after it.
func TestRefusedNotification(t *testing.T) {
	in := newInbox(t)
	in.answers(func(n int) int {
		if n <= attemptsRefused {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	s := setUp(t)
	s.end()
	var ahead atomic.Int64
	s.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	open(t, s)
	ctx := t.Context()
	if err := s.PutChannel(ctx, notify.Channel{Name: "ops", Kind: notify.Webhook, URL: in.URL}); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Tell(ctx, notify.Event{ID: "bad", Subject: "bad"}, notify.Event{ID: "good", Subject: "good"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second arrives", func() bool {
		ahead.Add(int64(time.Minute))
		return strings.Contains(in.subjects(), "good")
	})
	list, err := s.Notifications(ctx, store.NotificationFilter{State: store.NotificationDead})
	if err != nil || len(list) != 1 || list[0].Event.ID != "bad" || list[0].Attempts != attemptsRefused || !strings.Contains(list[0].Problem, "400") {
		t.Fatalf("%+v %v", list, err)
	}
	if _, err := s.RetryNotification(ctx, list[0].ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is sent again", func() bool { return strings.Contains(in.subjects(), "bad") })
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("CONTROLLER_TEST_CHILD"); dir != "" {
		os.Exit(childController(dir))
	}
	os.Exit(m.Run())
}

func killConfig(dir string, ahead time.Duration) Config {
	return Config{
		Dir: filepath.Join(dir, "data"), Homes: keyring.Homes{Config: filepath.Join(dir, "config"), State: filepath.Join(dir, "state")},
		Now:      func() time.Time { return time.Now().Add(ahead) },
		OpenSite: func(dr.Site) (site.Driver, error) { return nil, errors.New("no site") },
	}
}

// childController is a controller that serves until it is killed.
func childController(dir string) int {
	ahead, err := time.ParseDuration(os.Getenv("CONTROLLER_TEST_AHEAD"))
	if err != nil {
		return 1
	}
	c, err := Open(context.Background(), killConfig(dir, ahead))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := c.Serve(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// TestKillNotifier kills a controller again and again: at random while it opens, ends a run, sees that a vault is away
// and sends, and exactly while a notification was received and not answered, and right after the answer. Everything is
// told, in the same words each time, and nothing that did not happen.
func TestKillNotifier(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random, receiver := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // one for each goroutine
	t.Logf("seed %d", seed)
	dir, in := t.TempDir(), newInbox(t)
	ctx := t.Context()
	s, err := Open(ctx, killConfig(dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ops", "other"} { // two channels: each gets everything
		if err := s.PutChannel(ctx, notify.Channel{Name: name, Kind: notify.Webhook, URL: in.URL + "/" + name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.store.PutVault(ctx, store.Vault{Name: "main", URL: "file://" + filepath.ToSlash(filepath.Join(dir, "nothing"))}); err != nil {
		t.Fatal(err)
	}
	// A run that was recorded and did not reach the engine: whoever opens the folder next begins it, and it fails.
	input, err := json.Marshal(recovery.Input{Run: "r1", Kind: recovery.KindCommit})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.CreateRun(ctx, store.Run{ID: "r1", Kind: recovery.KindCommit, State: store.RunPending, Requested: time.Now(), Input: input}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	var child atomic.Pointer[os.Process]
	kill := func() {
		if p := child.Load(); p != nil {
			_ = p.Kill() // it may be dead already
		}
	}
	in.answers(func(n int) int {
		switch n {
		case 1, 4:
			kill()
			return http.StatusServiceUnavailable // never read: the sender is dead
		case 2, 5, 7:
			time.AfterFunc(time.Duration(receiver.IntN(20))*time.Millisecond, kill) // about when it notes the answer
		case 3:
			return http.StatusBadGateway
		}
		return http.StatusOK
	})
	deaths := 0
	live := func(ahead, most time.Duration, done func() bool) {
		t.Helper()
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), "CONTROLLER_TEST_CHILD="+dir, "CONTROLLER_TEST_AHEAD="+ahead.String())
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		child.Store(cmd.Process)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // it is killed
		}()
		deadline := time.NewTimer(most)
		defer deadline.Stop()
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			over := false
			select {
			case <-ended:
				over = true
			case <-deadline.C:
				over = true
			case <-tick.C:
				over = done()
			}
			if over {
				tick.Stop()
				break
			}
		}
		_ = cmd.Process.Kill()
		<-ended
		if code := cmd.ProcessState.ExitCode(); code == 1 {
			t.Fatal("a controller ended by itself")
		}
		deaths++
	}
	never := func() bool { return false }
	clock := time.Duration(0)
	for range 10 {
		live(clock, time.Duration(20+random.IntN(1500))*time.Millisecond, never)
		clock += time.Minute
	}
	has := func(prefix string, kind notify.Kind) func() bool {
		return func() bool {
			in.mu.Lock()
			defer in.mu.Unlock()
			return slices.ContainsFunc(in.ids, func(id string) bool { return strings.HasPrefix(id, prefix) && in.got[id].Kind == kind })
		}
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for i := 0; !done(); i++ {
			if i == 30 {
				t.Fatalf("%s: never; there were %s", what, in.subjects())
			}
			clock += 10 * time.Minute
			live(clock, 7*time.Second, done)
		}
	}
	until("the run's end", has("run-r1", notify.Failure))
	until("the vault", has("vault-main", notify.Problem))

	// The end: the vault is removed while no controller runs.
	if s, err = Open(ctx, killConfig(dir, clock)); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveVault(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	until("the vault's end", has("vault-main", notify.Resolved))
	until("everything to be sent", func() bool {
		s, err := store.Open(ctx, filepath.Join(dir, "data", "state.db"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		list, err := s.Notifications(ctx, store.NotificationFilter{State: store.NotificationWaiting})
		return err == nil && len(list) == 0
	})
	t.Logf("%d deaths, %d requests for %d messages\n%s", deaths, in.seen, len(in.ids), in.subjects())
	if len(in.ids) != 3 || deaths < 10 || in.seen < 6 {
		t.Errorf("%d messages, want 3; %d deaths", len(in.ids), deaths)
	}
	if p, _ := in.find("vault/main", notify.Problem); in.got[in.ids[len(in.ids)-1]].Ends != p.ID {
		t.Errorf("%+v does not end %s", in.got[in.ids[len(in.ids)-1]], p.ID)
	}
}

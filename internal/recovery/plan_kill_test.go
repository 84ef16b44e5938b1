package recovery_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/store/sqlite"
	"understudy/internal/vault"
	"understudy/internal/vault/blob/file"
)

// planGround prepares a folder in which controllers in processes of their own carry a plan out.
func planGround(t *testing.T, text string) (dir string, state *store.Store) {
	dir = t.TempDir()
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "key"), []byte(identity.String()), 0o600))
	blobs, err := file.Open(filepath.Join(dir, "vault"), true)
	must(t, err)
	w := newWorldOn(t, dir, newVault(t, blobs, identity))
	for _, s := range []string{"east", "west"} {
		must(t, os.Mkdir(filepath.Join(dir, s), 0o700))
	}
	for _, m := range shop.Machines {
		must(t, (&dirSite{dir: filepath.Join(dir, "east")}).save(dirMachine{Req: site.ProvisionRequest{Machine: dr.Machine{Name: m.Name}}, On: true}, "initial "+m.Name))
	}
	must(t, os.WriteFile(filepath.Join(dir, "plan.yaml"), []byte("name: p\ngroup: shop\n"+strings.ReplaceAll(text, "DIR", dir)), 0o600))
	return dir, w.store
}

// planController is a controller on that ground.
func planController(ctx context.Context, dir string, lost func(error)) (*recovery.Recovery, error) {
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		return nil, err
	}
	identity, err := age.ParseX25519Identity(string(key))
	if err != nil {
		return nil, err
	}
	blobs, err := file.Open(filepath.Join(dir, "vault"), false)
	if err != nil {
		return nil, err
	}
	v, err := vault.Open(ctx, blobs, vault.Options{Identities: []age.Identity{identity}, Workers: 1})
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, filepath.Join(dir, "state.db"), store.Options{})
	if err != nil {
		return nil, err
	}
	o := options(dir, s, v)
	o.Replicator, o.Lost, o.LeaseTTL = noReplication{}, lost, 4*time.Second
	o.Sites = func(_ context.Context, name string) (site.Driver, error) {
		return &dirSite{dir: filepath.Join(dir, name), after: func() {}}, nil
	}
	return recovery.New(o), nil
}

// planChild begins the plan, or goes on with it, to its end.
func planChild(dir string) error {
	ctx := context.Background()
	lost := make(chan error, 1)
	r, err := planController(ctx, dir, func(err error) { lost <- err })
	if err != nil {
		return err
	}
	if err := r.Open(ctx); err != nil {
		return err
	}
	runs, err := r.Runs(ctx, store.RunFilter{})
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		text, err := os.ReadFile(filepath.Join(dir, "plan.yaml"))
		if err != nil {
			return err
		}
		if _, _, _, err := r.ApplyPlan(ctx, "plan.yaml", text, "test"); err != nil {
			return err
		}
		run, err := r.StartPlan(ctx, recovery.Request{Kind: recovery.KindFailover, Plan: "p"})
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	ctx, stop := context.WithCancel(ctx)
	go func() {
		err := <-lost
		fmt.Println("lost:", err)
		stop()
	}()
	var last store.Run
	err = r.Watch(ctx, runs[0].ID, func(run store.Run, _ []store.Step) error { last = run; return nil })
	err = errors.Join(err, r.Close())
	fmt.Println("closed")
	if errors.Is(err, context.Canceled) {
		return nil // it was replaced
	}
	if err == nil && last.State != store.RunSucceeded {
		return errors.New(last.Error)
	}
	return err
}

// progress counts what the controllers have recorded.
func progress(t *testing.T, s *store.Store, actions []string) (run store.Run, n int) {
	t.Helper()
	runs, err := s.Runs(t.Context(), store.RunFilter{})
	must(t, err)
	if len(runs) == 0 {
		return run, 0
	}
	steps, err := s.Steps(t.Context(), runs[0].ID)
	must(t, err)
	for _, st := range steps {
		if n++; st.State.Ended() {
			n++
		}
	}
	for _, a := range actions {
		list, err := s.Attempts(t.Context(), runs[0].ID, a)
		must(t, err)
		for _, at := range list {
			if n++; !at.Ended.IsZero() {
				n++
			}
		}
	}
	return runs[0], n
}

// TestPlanKill kills the controller with SIGKILL when it has recorded something new, again and again. The plan comes to
// its end. What was completed is never done again; what is not repeatable is begun once, whatever becomes of it.
func TestPlanKill(t *testing.T) {
	const script = "echo %[1]s >> DIR/done; sleep 0.02; echo %[1]s-end >> DIR/done"
	act := func(name, more string) string {
		return fmt.Sprintf("{name: %s, script: {text: '"+script+"'}, onError: continue%s}", name, more)
	}
	dir, s := planGround(t, fmt.Sprintf(`before: [%s, {name: go, approval: {}}, %s]
stages:
  - {name: data, machines: [db, cache], after: [%s, {name: rest, wait: 100ms}]}
  - {name: front, machines: [web], before: [%s]}
after: [%s, %s]
`, act("once-1", ""), act("any-1", ", repeatable: true"), act("once-2", ""), act("any-2", ", repeatable: true, retries: 2, backoff: 1ms"), act("once-3", ""), act("any-3", ", repeatable: true")))
	once, any := []string{"once-1", "once-2", "once-3"}, []string{"any-1", "any-2", "any-3"}
	actions := append(append([]string{"rest"}, once...), any...)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for ; ; kills++ {
		if kills > 60 {
			t.Fatal("it comes to no end")
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "RECOVERY_TEST_PLAN="+dir)
		cmd.Stderr = os.Stderr
		_, before := progress(t, s, actions)
		must(t, cmd.Start())
		over := make(chan error, 1)
		go func() { over <- cmd.Wait() }()
		err := func() error {
			want := before + 2 + dice.IntN(9)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case err := <-over:
					return err
				case <-tick.C:
				}
				run, n := progress(t, s, actions)
				if q, open, err := s.OpenQuestion(t.Context(), run.ID); err == nil && open {
					_, err := s.Answer(t.Context(), run.ID, q.Topic, func(q *store.Question) error { q.Answer = recovery.AnswerApprove; return nil })
					must(t, err)
				}
				if n >= want {
					_ = cmd.Process.Kill()
					return <-over
				}
			}
		}()
		if err == nil {
			break
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("after %d kills: %v", kills, err)
		}
	}
	t.Logf("%d kills", kills)
	if kills < 5 {
		t.Errorf("killed only %d times", kills)
	}
	data, err := os.ReadFile(filepath.Join(dir, "done"))
	must(t, err)
	count := map[string]int{}
	for line := range strings.Lines(string(data)) {
		count[strings.TrimSpace(line)]++
	}
	run, _ := progress(t, s, actions)
	res := result(t, run)
	outcome := map[string]recovery.ActionResult{}
	for _, a := range res.Actions {
		outcome[a.Name] = a
	}
	for _, a := range actions {
		list, err := s.Attempts(t.Context(), run.ID, a)
		must(t, err)
		done := 0
		for i, at := range list {
			if at.Done {
				done++
				if i != len(list)-1 {
					t.Errorf("%s was tried again after it was done: %+v", a, list)
				}
			}
		}
		if (done == 1) != (outcome[a].Outcome == recovery.ActionDone) {
			t.Errorf("%s: done %d times, reported as %+v", a, done, outcome[a])
		}
	}
	for _, a := range once {
		if n := count[a]; n > 1 || n == 0 && outcome[a].Outcome == recovery.ActionDone {
			t.Errorf("%s was begun %d times: %+v", a, n, outcome[a])
		}
		if e := outcome[a].Error; e != "" && !strings.Contains(e, "not known") {
			t.Errorf("%s: %s", a, e)
		}
	}
	for _, a := range any {
		if count[a+"-end"] < 1 || outcome[a].Outcome != recovery.ActionDone {
			t.Errorf("%s ended %d times: %+v", a, count[a+"-end"], outcome[a])
		}
	}
	if left, err := filepath.Glob(dir + "/run/action-*"); err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}

// TestPlanWokenController stops a controller with SIGSTOP inside of a script for longer than its lease. A controller of
// another host takes over. It waits for the script, which goes on, to end; does what may be repeated again and what may
// not, not; and completes the plan. The first one, woken, records nothing and does nothing more.
func TestPlanWokenController(t *testing.T) {
	dir, s := planGround(t, `before:
  - {name: slow, script: {text: 'echo slow >> DIR/done; until test -e DIR/go; do sleep 0.05; done; echo slow-end >> DIR/done'}, onError: continue}
  - {name: next, script: {text: 'echo next >> DIR/done'}}
stages: [{name: all, machines: [db, cache, web]}]
after: [{name: last, script: {text: 'echo last >> DIR/done'}}]
`)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RECOVERY_TEST_PLAN="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	until(t, func() bool {
		data, err := os.ReadFile(filepath.Join(dir, "done"))
		return err == nil && string(data) == "slow\n"
	})
	path := filepath.Join(dir, "engine.db")
	until(t, func() bool { // it must not be stopped in the middle of a transaction
		must(t, cmd.Process.Signal(syscall.SIGSTOP))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var errs []error
		for file, query := range map[string]string{path: "UPDATE understudy_leader SET host = 'elsewhere'", filepath.Join(dir, "state.db"): "DELETE FROM fences WHERE site = 'nowhere'"} {
			db, err := sqlite.Open(ctx, file, sqlite.Options{MaxConns: 1})
			if err == nil {
				_, err = db.ExecContext(ctx, query)
				err = errors.Join(err, db.Close())
			}
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil {
			must(t, cmd.Process.Signal(syscall.SIGCONT))
			return false
		}
		return true
	})
	must(t, os.Remove(path+".lock"))

	second, err := planController(t.Context(), dir, func(error) {})
	must(t, err)
	until(t, func() bool {
		err := second.Open(t.Context())
		if err != nil && dr.KindOf(err) != dr.KindConflict {
			t.Fatal(err)
		}
		return err == nil
	})
	defer second.Close()
	run, _ := progress(t, s, nil)
	until(t, func() bool {
		st, ok, err := s.Step(t.Context(), run.ID, "action slow")
		return err == nil && ok && strings.Contains(st.Message, "waiting for the script")
	})
	must(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	until(t, func() bool {
		run, _ = progress(t, s, nil)
		return run.State.Ended()
	})
	must(t, cmd.Process.Signal(syscall.SIGCONT))
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
	}
	_ = cmd.Wait() // it may call the loss of its lease an error
	if text := strings.Join(said, "\n"); !strings.Contains(text, "lost: ") || !strings.Contains(text, "closed") {
		t.Errorf("the woken controller said %q", text)
	}
	data, err := os.ReadFile(filepath.Join(dir, "done"))
	must(t, err)
	if got, want := string(data), "slow\nslow-end\nnext\nlast\n"; got != want {
		t.Errorf("done:\n%swant:\n%s", got, want)
	}
	run, _ = progress(t, s, nil)
	if got, want := outcomes(result(t, run)), "slow=failed next=done last=done"; run.State != store.RunSucceeded || got != want {
		t.Errorf("%s: %s, want %s", run.State, got, want)
	}
	list, err := s.Attempts(t.Context(), run.ID, "slow")
	if err != nil || len(list) != 1 || !list[0].Unknown || list[0].Done {
		t.Errorf("%+v %v", list, err)
	}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

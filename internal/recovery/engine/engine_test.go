package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/dr"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("ENGINE_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	if dir := os.Getenv("ENGINE_TEST_SLEEPER"); dir != "" {
		sleeper(dir)
		return
	}
	os.Exit(m.Run())
}

type log struct {
	mu       sync.Mutex
	events   []Event
	outcomes chan Outcome
}

func newLog() *log { return &log{outcomes: make(chan Outcome, 10)} }

func (l *log) options(path string) Options {
	return Options{
		Path: path, Logger: slog.New(slog.DiscardHandler),
		Observe: func(e Event) { l.mu.Lock(); defer l.mu.Unlock(); l.events = append(l.events, e) },
		Finish:  func(_ context.Context, o Outcome) error { l.outcomes <- o; return nil },
	}
}

func (l *log) outcome(t *testing.T) Outcome {
	t.Helper()
	select {
	case o := <-l.outcomes:
		return o
	case <-time.After(20 * time.Second):
		t.Fatal("no outcome")
		panic("unreachable")
	}
}

func open(t *testing.T, l *log, path string, f Interpreter) *Engine {
	t.Helper()
	e := New(l.options(path))
	e.Register("test", f)
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

func step(name string, o StepOptions, f func(context.Context, *Progress) (int, error)) Step[int] {
	return Step[int]{Name: name, Title: name, Options: o, Do: f}
}

func TestStepsAndErrors(t *testing.T) {
	l := newLog()
	var tries atomic.Int32
	e := open(t, l, filepath.Join(t.TempDir(), "e.db"), func(r *Run) (any, error) {
		var in int
		if err := json.Unmarshal(r.Input, &in); err != nil {
			return nil, err
		}
		values, errs := Parallel(r, []Step[int]{
			step("a", StepOptions{}, func(context.Context, *Progress) (int, error) { return in + 1, nil }),
			step("b", StepOptions{}, func(context.Context, *Progress) (int, error) {
				return 0, dr.WithHint(errors.New("no such disk"), dr.KindNotFound, "look")
			}),
			step("c", StepOptions{Retries: 3, Backoff: time.Millisecond}, func(context.Context, *Progress) (int, error) {
				if tries.Add(1) < 3 {
					return 0, errors.New("not yet")
				}
				return in + 3, nil
			}),
		})
		if values[0] != 42 || values[2] != 44 || errs[0] != nil || errs[2] != nil {
			return nil, fmt.Errorf("got %v %v", values, errs)
		}
		_, timeout := Do(r, step("d", StepOptions{Timeout: time.Millisecond}, func(ctx context.Context, _ *Progress) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}))
		if !errors.Is(timeout, ErrTimeout) {
			return nil, fmt.Errorf("timeout: %v", timeout)
		}
		_, stall := Do(r, step("e", StepOptions{Stall: 20 * time.Millisecond}, func(ctx context.Context, p *Progress) (int, error) {
			p.Beat()
			<-ctx.Done()
			return 0, ctx.Err()
		}))
		if !errors.Is(stall, ErrTimeout) || !strings.Contains(stall.Error(), "made no progress") {
			return nil, fmt.Errorf("stall: %v", stall)
		}
		return map[string]int{"x": values[0]}, errs[1]
	})
	defer e.Close()
	for range 2 { // idempotent
		if err := e.Start(t.Context(), "r1", "test", 41); err != nil {
			t.Fatal(err)
		}
	}
	o := l.outcome(t)
	if dr.KindOf(o.Err) != dr.KindNotFound || dr.Hint(o.Err) != "look" || o.Err.Error() != "no such disk" || string(o.Result) != `{"x":42}` {
		t.Fatalf("outcome %+v", o)
	}
	for {
		s, err := e.Status(t.Context(), "r1")
		if err != nil {
			t.Fatal(err)
		}
		if s.Active { // the outcome is recorded after Finish
			continue
		}
		if s.Outcome.Err == nil || s.Outcome.Err.Error() != "no such disk" || string(s.Outcome.Result) != `{"x":42}` {
			t.Fatalf("status %+v", s)
		}
		break
	}
	if err := e.Start(t.Context(), "r2", "nope", 1); dr.KindOf(err) != dr.KindInvalid {
		t.Fatalf("unknown kind: %v", err)
	}
	if err := e.Forget(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Status(t.Context(), "r1"); dr.KindOf(err) != dr.KindNotFound {
		t.Fatalf("forgotten: %v", err)
	}
}

func TestAbortInterruptsAndCleansUp(t *testing.T) {
	l := newLog()
	inside := make(chan struct{})
	var cleaned atomic.Bool
	e := open(t, l, filepath.Join(t.TempDir(), "e.db"), func(r *Run) (any, error) {
		_, err := Do(r, step("long", StepOptions{Retries: 5}, func(ctx context.Context, _ *Progress) (int, error) {
			close(inside)
			<-ctx.Done()
			return 0, ctx.Err()
		}))
		if _, next := Do(r, step("next", StepOptions{}, func(context.Context, *Progress) (int, error) {
			t.Error("a step ran after the abort")
			return 0, nil
		})); !errors.Is(next, ErrAborted) {
			t.Errorf("next: %v", next)
		}
		_, cleanup := Do(r, step("clean", StepOptions{Cleanup: true}, func(ctx context.Context, _ *Progress) (int, error) {
			cleaned.Store(true)
			return 0, ctx.Err()
		}))
		return nil, errors.Join(err, cleanup)
	})
	defer e.Close()
	if err := e.Start(t.Context(), "r", "test", nil); err != nil {
		t.Fatal(err)
	}
	<-inside
	if err := e.Abort(t.Context(), "r", "changed my mind"); err != nil {
		t.Fatal(err)
	}
	o := l.outcome(t)
	if !errors.Is(o.Err, ErrAborted) || !strings.Contains(o.Err.Error(), "changed my mind") || !cleaned.Load() {
		t.Fatalf("outcome %+v, cleaned %v", o, cleaned.Load())
	}
}

func TestWaitSignalAbort(t *testing.T) {
	l := newLog()
	e := open(t, l, filepath.Join(t.TempDir(), "e.db"), func(r *Run) (any, error) {
		var who string
		if err := r.Wait("approval", time.Minute, &who); err != nil {
			return nil, err
		}
		if err := r.Wait("never", 10*time.Millisecond, nil); !errors.Is(err, ErrTimeout) {
			return nil, fmt.Errorf("wait: %v", err)
		}
		return who, r.Wait("second", time.Minute, nil)
	})
	defer e.Close()
	if err := e.Start(t.Context(), "r", "test", nil); err != nil {
		t.Fatal(err)
	}
	if err := e.Signal(t.Context(), "r", "approval", "ann"); err != nil {
		t.Fatal(err)
	}
	if err := e.Signal(t.Context(), "none", "approval", "ann"); dr.KindOf(err) != dr.KindNotFound {
		t.Fatalf("signal to nobody: %v", err)
	}
	waitFor(t, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		r := e.active["r"]
		if r == nil {
			return false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.waiting["second"] > 0
	})
	if err := e.Abort(t.Context(), "r", ""); err != nil {
		t.Fatal(err)
	}
	if o := l.outcome(t); !errors.Is(o.Err, ErrAborted) || string(o.Result) != `"ann"` {
		t.Fatalf("outcome %+v", o)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("waited too long")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestCloseAndReopen closes the engine in the middle of each step; the run goes on in the next one.
func TestCloseAndReopen(t *testing.T) {
	l, path := newLog(), filepath.Join(t.TempDir(), "e.db")
	var counts [4]int
	var stopAt atomic.Int32
	arrived := make(chan struct{}, 1)
	f := func(r *Run) (any, error) {
		for i := range counts {
			if _, err := Do(r, step(fmt.Sprint("s", i), StepOptions{}, func(ctx context.Context, _ *Progress) (int, error) {
				if int(stopAt.Load()) == i {
					arrived <- struct{}{}
					<-ctx.Done()
					return 0, ctx.Err()
				}
				counts[i]++
				return i, nil
			})); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	for at := range counts {
		stopAt.Store(int32(at))
		e := open(t, l, path, f)
		if err := e.Start(t.Context(), "r", "test", nil); err != nil {
			t.Fatal(err)
		}
		<-arrived
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stopAt.Store(-1)
	e := open(t, l, path, f)
	defer e.Close()
	if o := l.outcome(t); o.Err != nil {
		t.Fatal(o.Err)
	}
	if counts != [4]int{1, 1, 1, 1} {
		t.Fatalf("steps ran %v times", counts)
	}
}

func TestOneLeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "e.db")
	e := open(t, newLog(), path, nil)
	second := New(newLog().options(path))
	if err := second.Open(t.Context()); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("second controller: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestStaleProcessDoesNothing takes the lease away before a step, and after the last one.
func TestStaleProcessDoesNothing(t *testing.T) {
	for _, when := range []string{"before a step", "at the end"} {
		t.Run(when, func(t *testing.T) {
			l := newLog()
			lost := make(chan error, 1)
			o := l.options(filepath.Join(t.TempDir(), "e.db"))
			o.Lost = func(err error) { lost <- err }
			e := New(o)
			sleep := func(now string) {
				if now == when {
					e.lease.mu.Lock()
					e.lease.renewed = time.Now().Add(-time.Hour)
					e.lease.mu.Unlock()
				}
			}
			e.Register("test", func(r *Run) (any, error) {
				sleep("before a step")
				_, err := Do(r, step("s", StepOptions{}, func(context.Context, *Progress) (int, error) {
					if when == "before a step" {
						t.Error("the step was executed")
					}
					return 0, nil
				}))
				sleep("at the end")
				return nil, err
			})
			if err := e.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := e.Start(t.Context(), "r", "test", nil); err != nil {
				t.Fatal(err)
			}
			<-lost
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if len(l.outcomes) != 0 {
				t.Errorf("outcome %+v", <-l.outcomes)
			}
		})
	}
}

// TestStaleProcessRecordsNothing takes the lease away inside of a step.
func TestStaleProcessRecordsNothing(t *testing.T) {
	l, path := newLog(), filepath.Join(t.TempDir(), "e.db")
	lost := make(chan error, 1)
	o := l.options(path)
	o.Lost = func(err error) { lost <- err }
	var runs atomic.Int32
	var e *Engine
	f := func(r *Run) (any, error) {
		_, err := Do(r, step("s", StepOptions{}, func(context.Context, *Progress) (int, error) {
			if runs.Add(1) == 1 {
				e.lease.mu.Lock() // as after a long sleep of the machine
				e.lease.renewed = time.Now().Add(-time.Hour)
				e.lease.mu.Unlock()
			}
			return 0, nil
		}))
		return nil, err
	}
	e = New(o)
	e.Register("test", f)
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context(), "r", "test", nil); err != nil {
		t.Fatal(err)
	}
	<-lost
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e2 := open(t, l, path, f)
	defer e2.Close()
	if o := l.outcome(t); o.Err != nil || runs.Load() != 2 {
		t.Fatalf("outcome %+v after %d runs", o, runs.Load())
	}
}

// TestKill kills a controller with SIGKILL inside of every step, and right after it, and lets the next one go on.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	run := func(kill string) error {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ENGINE_TEST_CHILD="+dir, "ENGINE_TEST_KILL="+kill)
		cmd.Stderr = os.Stderr
		return cmd.Run()
	}
	var kills []string
	for i := range childSteps {
		kills = append(kills, fmt.Sprintf("before %d", i), fmt.Sprintf("after %d", i))
	}
	for _, kill := range kills {
		if err := run(kill); err == nil {
			t.Fatalf("%s: not killed", kill)
		}
	}
	start := time.Now()
	if err := run(""); err != nil {
		t.Fatal(err)
	}
	t.Logf("last start to end: %s", time.Since(start))
	data, err := os.ReadFile(filepath.Join(dir, "effects"))
	if err != nil {
		t.Fatal(err)
	}
	effects := map[string]int{}
	for line := range strings.Lines(string(data)) {
		effects[strings.TrimSpace(line)]++
	}
	// The step under way at a kill may run again: killed before its effect none was there yet, killed after it but
	// before the record there are two.
	for i := range childSteps {
		if n := effects[fmt.Sprintf("step %d", i)]; n < 1 || n > 2 {
			t.Errorf("step %d had %d effects", i, n)
		}
	}
	if effects["finished"] != 1 {
		t.Errorf("finished %d times", effects["finished"])
	}
}

const childSteps = 5

// child is a controller that runs steps with an effect each and kills itself where it is told to.
func child(dir string) {
	kill := os.Getenv("ENGINE_TEST_KILL")
	die := func(where string) {
		if where == kill {
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		}
	}
	effect := func(text string) {
		f, err := os.OpenFile(filepath.Join(dir, "effects"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintln(f, text)
		}
		if err != nil {
			panic(err)
		}
		f.Close()
	}
	done := make(chan struct{})
	e := New(Options{Path: filepath.Join(dir, "e.db"), Finish: func(_ context.Context, o Outcome) error {
		if o.Err != nil {
			panic(o.Err)
		}
		effect("finished")
		close(done)
		return nil
	}})
	e.Register("test", func(r *Run) (any, error) {
		for i := range childSteps {
			v, err := Do(r, step(fmt.Sprint("s", i), StepOptions{}, func(context.Context, *Progress) (int, error) {
				die(fmt.Sprintf("before %d", i))
				effect(fmt.Sprintf("step %d", i))
				die(fmt.Sprintf("after %d", i))
				return i * i, nil
			}))
			if err != nil || v != i*i {
				panic(fmt.Sprint(v, err))
			}
		}
		return nil, nil
	})
	ctx := context.Background()
	if err := e.Open(ctx); err != nil {
		panic(err)
	}
	if err := e.Start(ctx, "r", "test", nil); err != nil {
		panic(err)
	}
	<-done
	if err := e.Close(); err != nil {
		panic(err)
	}
}

package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

const (
	sleeperTTL   = 4 * time.Second
	sleeperSteps = 4
)

// TestWokenController stops a controller with SIGSTOP inside of a step for longer than its lease. On its own host
// nobody can replace it, since its file lock lives; a controller of another host that shares the file takes over and
// completes the run. Woken, the first one records nothing, starts no further step, says that it must end, and ends.
func TestWokenController(t *testing.T) {
	stop, wake := stopSignals()
	if stop == nil {
		t.Skip("this system cannot stop a process")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "e.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ENGINE_TEST_SLEEPER="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	lines := bufio.NewScanner(out)
	hear := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the first controller never said %q: %v", want, lines.Err())
	}
	hear("inside step 1")
	moveElsewhere(t, path, func() { _ = cmd.Process.Signal(stop) }, func() { _ = cmd.Process.Signal(wake) })

	l := newLog()
	second := New(l.options(path))
	second.Register("test", sleeperRun(dir, "second", func() {}))
	if err := second.Open(t.Context()); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("beside a live file lock: %v", err)
	}
	// Another host does not see the lock.
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	waitFor(t, func() bool {
		err := second.Open(t.Context())
		if err != nil && dr.KindOf(err) != dr.KindConflict {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Logf("took over after %s", time.Since(began).Round(time.Millisecond))
	defer second.Close()
	if o := l.outcome(t); o.Err != nil {
		t.Fatal(o.Err)
	}

	if err := cmd.Process.Signal(wake); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "go on")
	hear("lost: ")
	hear("closed")
	if err := cmd.Wait(); err != nil {
		t.Errorf("the woken controller: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "effects"))
	if err != nil {
		t.Fatal(err)
	}
	// Step 1 was under way in both, as after a crash; all others were done once.
	got := strings.Replace(string(data), "first 1\n", "", 1)
	if want := "first 0\nsecond 1\nsecond 2\nsecond 3\n"; got != want {
		t.Errorf("effects:\n%swant, but for the step under way:\n%s", data, want)
	}
	// And the second one goes on with new runs.
	if err := second.Start(t.Context(), "another", "test", nil); err != nil {
		t.Fatal(err)
	}
	if o := l.outcome(t); o.ID != "another" || o.Err != nil {
		t.Errorf("%+v", o)
	}
}

// moveElsewhere stops the process while it writes nothing, and says that the lease is of another host.
func moveElsewhere(t *testing.T, path string, stop, wake func()) {
	t.Helper()
	waitFor(t, func() bool {
		stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		db, err := sqlite.Open(ctx, path, sqlite.Options{MaxConns: 1})
		if err == nil {
			_, err = db.ExecContext(ctx, "UPDATE understudy_leader SET host = 'elsewhere'")
			err = errors.Join(err, db.Close())
		}
		if err != nil {
			wake() // it was stopped in a transaction
		}
		return err == nil
	})
}

// sleeperRun is a run of steps with an effect each. hold is called inside of step 1 before its effect.
func sleeperRun(dir, who string, hold func()) Interpreter {
	return func(r *Run) (any, error) {
		for i := range sleeperSteps {
			if _, err := Do(r, step(fmt.Sprint("s", i), StepOptions{}, func(context.Context, *Progress) (int, error) {
				if i == 1 {
					hold()
				}
				if r.ID == "another" {
					return i, nil
				}
				f, err := os.OpenFile(filepath.Join(dir, "effects"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
				if err != nil {
					return 0, err
				}
				_, err = fmt.Fprintln(f, who, i)
				return i, errors.Join(err, f.Close())
			})); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
}

// sleeper is the controller that is stopped.
func sleeper(dir string) {
	lost := make(chan error, 1)
	e := New(Options{
		Path: filepath.Join(dir, "e.db"), LeaseTTL: sleeperTTL, Lost: func(err error) { lost <- err },
		Finish: func(_ context.Context, o Outcome) error {
			fmt.Println("finished", o.ID, o.Err)
			return nil
		},
	})
	e.Register("test", sleeperRun(dir, "first", func() {
		fmt.Println("inside step 1")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	}))
	ctx := context.Background()
	if err := e.Open(ctx); err != nil {
		panic(err)
	}
	if err := e.Start(ctx, "r", "test", nil); err != nil {
		panic(err)
	}
	fmt.Println("lost:", <-lost)
	if err := e.Close(); err != nil {
		panic(err)
	}
	fmt.Println("closed")
}

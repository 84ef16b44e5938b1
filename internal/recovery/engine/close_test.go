package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
)

// TestCloseWithoutOpen closes engines that were never opened, whose opening failed at each place, and that are closed.
func TestCloseWithoutOpen(t *testing.T) {
	dir := t.TempDir()
	shut := func(e *Engine) {
		t.Helper()
		for range 2 {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	shut(New(newLog().options(filepath.Join(dir, "never.db"))))

	e := New(newLog().options(filepath.Join(dir, "no", "folder.db")))
	if err := e.Open(t.Context()); err == nil {
		t.Error("opened in a folder that is missing")
	}
	shut(e)

	path := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(path, []byte("this is no database, whatever its name says; it is long enough to have a header"), 0o600); err != nil {
		t.Fatal(err)
	}
	e = New(newLog().options(path))
	if err := e.Open(t.Context()); err == nil {
		t.Error("opened what is no database")
	}
	shut(e)

	path = filepath.Join(dir, "e.db")
	first := open(t, newLog(), path, nil)
	second := New(newLog().options(path))
	if err := second.Open(t.Context()); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("second: %v", err)
	}
	shut(second)

	// The lease can be taken, but then the file cannot be used.
	if _, err := first.db.ExecContext(t.Context(), "DROP TABLE understudy_aborts"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.db.ExecContext(t.Context(), "CREATE VIEW understudy_aborts AS SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.db.ExecContext(t.Context(), "DROP TABLE workflow_status"); err != nil {
		t.Fatal(err)
	}
	shut(first)
	if err := second.Open(t.Context()); err == nil {
		t.Error("opened without its tables")
	}
	shut(second)
}

func TestForgetEnded(t *testing.T) {
	l := newLog()
	hold := make(chan struct{})
	e := open(t, l, filepath.Join(t.TempDir(), "e.db"), func(r *Run) (any, error) {
		_, err := Do(r, step("s", StepOptions{}, func(ctx context.Context, _ *Progress) (int, error) {
			if r.ID == "c" {
				select {
				case <-hold:
				case <-ctx.Done():
				}
			}
			return 0, nil
		}))
		if r.ID == "b" {
			err = errors.New("failed")
		}
		return nil, err
	})
	defer e.Close()
	ended := func(id string) {
		waitFor(t, func() bool {
			s, err := e.Status(t.Context(), id)
			return err == nil && !s.Active
		})
	}
	start := func(id string) {
		if err := e.Start(t.Context(), id, "test", nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b"} {
		start(id)
		l.outcome(t)
		ended(id)
	}
	if err := e.Abort(t.Context(), "a", "too late"); err != nil {
		t.Fatal(err)
	}
	start("c")
	if n, err := e.ForgetEnded(t.Context(), time.Now().Add(-time.Hour)); err != nil || n != 0 {
		t.Errorf("%d forgotten that ended within the hour: %v", n, err)
	}
	if n, err := e.ForgetEnded(t.Context(), time.Now().Add(time.Hour)); err != nil || n != 2 {
		t.Errorf("%d forgotten, want 2: %v", n, err)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := e.Status(t.Context(), id); dr.KindOf(err) != dr.KindNotFound {
			t.Errorf("%s: %v", id, err)
		}
	}
	var aborts int
	if err := e.db.QueryRowContext(t.Context(), "SELECT count(*) FROM understudy_aborts").Scan(&aborts); err != nil || aborts != 0 {
		t.Errorf("%d aborts left: %v", aborts, err)
	}
	// What has not ended goes on.
	if s, err := e.Status(t.Context(), "c"); err != nil || !s.Active {
		t.Errorf("%+v, %v", s, err)
	}
	close(hold)
	if o := l.outcome(t); o.ID != "c" || o.Err != nil {
		t.Errorf("%+v", o)
	}
}

package ledger

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestLedger(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ledger.db")
	acked := int64(0)
	l, err := Open(t.Context(), file, func(last int64) error { acked = last; return nil })
	if err != nil {
		t.Fatal(err)
	}
	add := func(n int) {
		t.Helper()
		for range n {
			if err := l.Append(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(20)
	// A copy of what lies there now, as a crash leaves it, needs the log.
	crashed := copyFiles(t, file, "-wal")
	if r, err := Check(t.Context(), crashed, true); err == nil && r.Rows == 20 {
		t.Errorf("without the log: %+v", r)
	}
	if r, err := Check(t.Context(), crashed, false); err != nil || !r.OK() || r.Last != acked || r.WAL == 0 {
		t.Errorf("recovered: %+v, %v", r, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	socket := filepath.Join(dir, "s")
	at, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, at) }()
	for range 2 {
		if last, err := Order(ctx, socket, "quiesce"); err != nil || last != "20" {
			t.Fatalf("quiesce: %q, %v", last, err)
		}
	}
	quiet := copyFiles(t, file, "")
	if r, err := Check(t.Context(), quiet, true); err != nil || !r.OK() || r.Last != 20 {
		t.Errorf("quiet: %+v, %v", r, err)
	}
	if st, err := os.Stat(file + "-wal"); err == nil && st.Size() > 0 {
		t.Errorf("a log of %d bytes is left", st.Size())
	}
	if _, err := Order(ctx, socket, "dance"); err == nil {
		t.Error("an unknown order was taken")
	}
	if _, err := Order(ctx, socket, "resume"); err != nil {
		t.Fatal(err)
	}
	add(1)
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(t.Context(), file, func(int64) error { return nil }); err != nil || l.last != 21 {
		t.Fatalf("opened again at %d, %v", l.last, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// copyFiles copies the database and, with a suffix, the file beside it.
func copyFiles(t *testing.T, file, suffix string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	for from, to := range map[string]string{file: to, file + suffix: to + suffix} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

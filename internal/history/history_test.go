package history

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

// clock is a clock that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func open(t testing.TB, path string, c *clock) *History {
	t.Helper()
	h, err := Open(t.Context(), path, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// play runs cycles of groups every so often, with batches and gathering as Run has them.
func play(t testing.TB, h *History, c *clock, groups int, every, long time.Duration) {
	t.Helper()
	flushed := c.at
	for end := c.at.Add(long); c.at.Before(end); c.at = c.at.Add(every) {
		for g := range groups {
			h.Add(fmt.Sprintf("g%d", g), Sample{Time: c.at, Lag: every + time.Duration(c.at.Minute())*time.Second, Changed: 4096, Stored: 1000, Read: 8192, Took: time.Second})
		}
		if c.at.Sub(flushed) >= FlushEvery {
			flushed = c.at
			must(t, h.Flush(t.Context()))
			must(t, h.gather(t.Context()))
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sum(list []Sample) (s Sample) {
	for _, v := range list {
		s.add(v)
	}
	return s
}

func TestQuery(t *testing.T) {
	begin := time.Date(2026, 3, 1, 10, 2, 30, 0, time.UTC)
	c := &clock{begin}
	path := filepath.Join(t.TempDir(), "history.db")
	h := open(t, path, c)
	play(t, h, c, 2, 30*time.Second, 3*time.Hour)
	want := 3 * 120
	for _, points := range []int{1, 7, 300, 100000} {
		list, err := h.Query(t.Context(), "g1", begin, c.at, points)
		must(t, err)
		if got := sum(list); got.Cycles != want || got.Changed != int64(want)*4096 || got.Lag != 30*time.Second+59*time.Second {
			t.Errorf("%d points: %+v", points, got)
		}
		if len(list) > points {
			t.Errorf("%d buckets, not %d", len(list), points)
		}
		if !slices.IsSortedFunc(list, func(a, b Sample) int { return a.Time.Compare(b.Time) }) {
			t.Error("not in order")
		}
	}
	list, err := h.Query(t.Context(), "g1", begin.Add(time.Hour), begin.Add(time.Hour+10*time.Minute), 10)
	must(t, err)
	if len(list) != 10 || list[0].Cycles != 2 || !list[1].Time.Equal(begin.Add(61*time.Minute)) {
		t.Errorf("%+v", list)
	}
	if list, err := h.Query(t.Context(), "none", begin, c.at, 10); err != nil || len(list) != 0 {
		t.Errorf("a group without cycles: %v %v", list, err)
	}
	if got := h.Totals()["g0"]; got.Cycles != want {
		t.Errorf("totals: %+v", got)
	}

	// What was written is there after a death; the last minute may not be.
	must(t, h.Close())
	h = open(t, path, c)
	list, err = h.Query(t.Context(), "g1", begin, c.at, 100)
	must(t, err)
	if got := sum(list).Cycles; got > want || got < want-2 {
		t.Errorf("%d cycles after a death", got)
	}
	if len(h.Totals()) != 0 {
		t.Error("totals are of the process")
	}
	h.Add("g1", Sample{Time: c.at.Add(-time.Second)})
	if list, err := h.Query(t.Context(), "g1", begin, c.at, 100); err != nil || sum(list).Cycles == 0 || sum(list).Cycles > want+1 {
		t.Errorf("%v %v", list, err)
	}
}

// After days every cycle of the last day is there, and the worst of every five minutes before it: nothing twice.
func TestGathered(t *testing.T) {
	begin := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	c := &clock{begin}
	h := open(t, filepath.Join(t.TempDir(), "history.db"), c)
	play(t, h, c, 1, 2*time.Minute, 36*time.Hour)
	list, err := h.Query(t.Context(), "g0", begin, c.at, 100000)
	must(t, err)
	if got := sum(list); got.Cycles != 36*30 {
		t.Errorf("%d cycles, not %d", got.Cycles, 36*30)
	}
	for _, s := range list {
		if age := c.at.Sub(s.Time); age > KeepCycles+2*time.Hour && s.Cycles < 2 || age < KeepCycles && s.Cycles != 1 {
			t.Fatalf("%s ago: %d cycles in one", age, s.Cycles)
		}
	}
	var rows int
	must(t, h.read.QueryRow("SELECT count(*) FROM cycles").Scan(&rows))
	if rows > 25*60 {
		t.Errorf("%d batches are kept", rows)
	}
	c.at = c.at.Add(40 * 24 * time.Hour)
	play(t, h, c, 1, 2*time.Minute, 4*time.Hour)
	must(t, h.read.QueryRow("SELECT count(*) FROM hours WHERE hour < ?", c.at.Add(-KeepWorst).Unix()-hour).Scan(&rows))
	if rows != 0 {
		t.Errorf("%d hours are kept for longer than a month", rows)
	}
}

// Cycles that end while a batch is being written are in exactly one place.
func TestConcurrent(t *testing.T) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	h := open(t, filepath.Join(t.TempDir(), "history.db"), c)
	const n = 3000
	done := make(chan error, 1)
	go func() {
		for range 20 {
			if err := h.Flush(t.Context()); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	last := 0
	for i := range n {
		h.Add("g", Sample{Time: c.at.Add(-time.Second)})
		if i%100 != 0 {
			continue
		}
		list, err := h.Query(t.Context(), "g", c.at.Add(-time.Minute), c.at, 1)
		must(t, err)
		if got := sum(list).Cycles; got != i+1 {
			t.Fatalf("%d cycles were added, %d are there (%d before)", i+1, got, last)
		}
	}
	must(t, <-done)
	must(t, h.Flush(t.Context()))
	list, err := h.Query(t.Context(), "g", c.at.Add(-time.Minute), c.at, 1)
	must(t, err)
	if got := sum(list).Cycles; got != n {
		t.Errorf("%d cycles", got)
	}
}

func TestDamagedFileIsPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	must(t, os.WriteFile(path, make([]byte, 8192), 0o600))
	must(t, os.WriteFile(path, []byte("this is no database, it is something else altogether, and long enough"), 0o600))
	h := open(t, path, &clock{time.Unix(1_800_000_000, 0)})
	h.Add("g", Sample{Time: time.Unix(1_800_000_000, 0)})
	must(t, h.Flush(t.Context()))
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

func TestCodec(t *testing.T) {
	base := time.Unix(1_800_000_000, 0)
	var want []Sample
	for range 100 {
		want = append(want, Sample{Time: base.Add(time.Duration(rand.IntN(120_000)-60_000) * time.Millisecond).UTC(), Lag: time.Duration(rand.IntN(1e6)) * time.Millisecond,
			Changed: rand.Int64N(1 << 50), Stored: rand.Int64N(1 << 20), Read: rand.Int64(), Took: time.Duration(rand.IntN(1e4)) * time.Millisecond, Cycles: 1, Failures: rand.IntN(2)})
	}
	var got []Sample
	must(t, decode(base, encode(base, want), func(s Sample) { got = append(got, s) }))
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	base := time.Unix(1_800_000_000, 0)
	f.Add(encode(base, []Sample{{Time: base, Lag: time.Second, Changed: 1 << 40, Cycles: 1}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		_ = decode(base, data, func(Sample) { n++ }) // any answer but a panic
		if n > len(data) {
			t.Fatalf("%d samples in %d bytes", n, len(data))
		}
	})
}

// BenchmarkBatch is a minute of 10,000 groups with a cycle every five seconds.
func BenchmarkBatch(b *testing.B) {
	const groups = 10_000
	c := &clock{time.Unix(1_800_000_000, 0)}
	path := filepath.Join(b.TempDir(), "history.db")
	h := open(b, path, c)
	names := make([]string, groups)
	for g := range names {
		names[g] = fmt.Sprintf("application-%05d", g)
	}
	for b.Loop() {
		for range 12 {
			c.at = c.at.Add(5 * time.Second)
			for _, name := range names {
				h.Add(name, Sample{Time: c.at, Lag: 5100 * time.Millisecond, Changed: 40 << 12, Stored: 70_000, Read: 60 << 12, Took: 150 * time.Millisecond})
			}
		}
		must(b, h.Flush(b.Context()))
	}
	b.ReportMetric(float64(b.Elapsed().Seconds())/float64(b.N), "s/minute")
	if st, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(st.Size())/float64(b.N)/groups/12, "B/cycle")
	}
}

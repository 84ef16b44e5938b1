package out

import (
	"fmt"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// A Transfer shows how a transfer of bytes goes on: a moving bar with rate and remaining time on a terminal, a plain
// line now and then elsewhere. Its methods may be called from many goroutines at once.
type Transfer struct {
	p     *Printer
	title string
	start time.Time

	mu       sync.Mutex
	done     int64
	total    int64
	lastLine time.Time
	pool     *mpb.Progress
	bar      *mpb.Bar
}

// plainEvery is the least time between two plain lines of one transfer.
const plainEvery = 5 * time.Second

// Transfer begins to show a transfer under a title such as "read shop-db/data".
func (p *Printer) Transfer(title string) *Transfer {
	t := &Transfer{p: p, title: title, start: time.Now(), lastLine: time.Now()}
	if p.Quiet || !p.ErrTTY {
		return t
	}
	t.pool = mpb.New(mpb.WithOutput(p.Err), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))
	t.bar = t.pool.New(0, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(title+" ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return t.text() })))
	return t
}

// Update says that done of total bytes were moved. A total of 0 means that it is not known.
func (t *Transfer) Update(done, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done, t.total = done, total
	if t.bar != nil {
		// The bar never completes by itself: Finish ends it, so that a growing total is no trouble.
		t.bar.SetTotal(max(total, done+1), false)
		t.bar.SetCurrent(done)
		return
	}
	if t.p.Quiet || time.Since(t.lastLine) < plainEvery {
		return
	}
	t.lastLine = time.Now()
	fmt.Fprintf(t.p.Err, "%s: %s\n", t.title, t.line())
}

// Finish takes the display away. It may be called more than once.
func (t *Transfer) Finish() {
	if t.bar != nil {
		t.bar.Abort(true)
		t.pool.Wait()
	}
}

func (t *Transfer) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.line()
}

// line needs t.mu.
func (t *Transfer) line() string {
	took := time.Since(t.start)
	rate := float64(t.done) / max(took.Seconds(), 0.001)
	s := fmt.Sprintf("%s, %s/s", Bytes(t.done), Bytes(int64(rate)))
	if t.total <= 0 {
		return s
	}
	s = fmt.Sprintf("%d%%, %s of %s, %s/s", t.done*100/t.total, Bytes(t.done), Bytes(t.total), Bytes(int64(rate)))
	if rate > 0 && t.done > 0 && t.done < t.total {
		left := time.Duration(float64(t.total-t.done) / rate * float64(time.Second))
		s += ", " + Duration(left.Round(time.Second)) + " left"
	}
	return s
}

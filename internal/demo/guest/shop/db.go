package shop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A DB appends records to a log and serves the acknowledgements.
type DB struct {
	log  *Log
	boot Report // of the log and file system when it was opened

	mu      sync.Mutex
	durable Record
	grown   chan struct{} // closed and replaced when durable moves
}

// NewDB serves a log that OpenLog opened. Its report, which may also tell of the file system, is part of every answer to check.
func NewDB(l *Log, boot Report) *DB {
	return &DB{log: l, boot: boot, durable: l.Last(), grown: make(chan struct{})}
}

// Run appends one record per interval, or as fast as the disk allows when it is 0, until ctx ends or the disk refuses.
func (d *DB) Run(ctx context.Context, interval time.Duration) error {
	if d.boot.FirstBad != 0 {
		return fmt.Errorf("record %d is bad: %s: nothing is appended", d.boot.FirstBad, d.boot.Why)
	}
	var tick <-chan time.Time
	if interval > 0 {
		t := time.NewTicker(interval)
		defer t.Stop()
		tick = t.C
	}
	for {
		if tick != nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick:
			}
		} else if ctx.Err() != nil {
			return ctx.Err()
		}
		rec, err := d.log.Append(time.Now())
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.durable = rec
		close(d.grown)
		d.grown = make(chan struct{})
		d.mu.Unlock()
	}
}

func (d *DB) newest() (Record, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.durable, d.grown
}

// Serve answers connections until ctx ends.
func (d *DB) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		go d.serve(ctx, conn)
	}
}

// serve writes from one goroutine only; the reader hands it the requests and ends it by closing them.
func (d *DB) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	requests := make(chan string)
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		defer close(requests)
		for s := bufio.NewScanner(conn); s.Scan(); {
			select {
			case requests <- s.Text():
			case <-quit:
				return
			}
		}
	}()

	w := bufio.NewWriter(conn)
	newest, _ := d.newest()
	fmt.Fprintf(w, "hello shop-db %d\n", newest.Number)
	next := max(newest.Number, 1)
	for {
		newest, grown := d.newest()
		for ; next <= newest.Number; next++ {
			sum, err := d.log.sum(next)
			if err != nil {
				return
			}
			fmt.Fprintf(w, "ack %d %s\n", next, sum)
		}
		if w.Flush() != nil {
			return
		}
		select {
		case <-grown:
		case req, ok := <-requests:
			if !ok || d.answer(w, req) != nil {
				return
			}
		}
	}
}

func (d *DB) answer(w io.Writer, request string) error {
	newest, _ := d.newest()
	switch request {
	case "newest":
		_, err := fmt.Fprintf(w, "record %d %s %x\n", newest.Number, newest.Time.Format(time.RFC3339Nano), newest.Sum)
		return err
	case "check":
		rep := d.boot
		opened, openedSum := rep.Last, rep.LastSum
		if rep.FirstBad == 0 {
			now, _, err := Verify(d.log.file, int64(newest.Number)*RecordSize)
			if err != nil {
				now.FirstBad, now.Why = now.Last+1, err.Error()
			}
			now.Torn, now.Fsck, now.Booted = rep.Torn, rep.Fsck, rep.Booted
			rep = now
		}
		rep.Opened, rep.OpenedSum = opened, openedSum
		b, err := json.Marshal(rep)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "check %s\n", b)
		return err
	case "":
		return nil
	}
	_, err := fmt.Fprintf(w, "error unknown request; try newest or check\n")
	return err
}

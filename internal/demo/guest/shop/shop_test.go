package shop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newLog(t *testing.T, records int) (string, *Log) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records")
	l, _, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for range records {
		if _, err := l.Append(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return path, l
}

func TestOpenLog(t *testing.T) {
	const records = 300 // more than Verify reads at once
	flip := func(b []byte, at int) []byte {
		b[at] ^= 1
		return b
	}
	tests := []struct {
		name    string
		damage  func(b []byte) []byte
		records uint64
		torn    int64
		bad     uint64
	}{
		{"whole", func(b []byte) []byte { return b }, records, 0, 0},
		{"empty", func(b []byte) []byte { return nil }, 0, 0, 0},
		{"torn end", func(b []byte) []byte { return append(b, b[:100]...) }, records, 100, 0},
		{"zeros at the end", func(b []byte) []byte { return append(b, make([]byte, RecordSize)...) }, records, RecordSize, 0},
		{"last record flipped", func(b []byte) []byte { return flip(b, len(b)-200) }, records - 1, RecordSize, 0},
		{"flip in the middle", func(b []byte) []byte { return flip(b, 41*RecordSize+300) }, 41, 0, 42},
		{"record lost", func(b []byte) []byte { return append(b[:10*RecordSize:10*RecordSize], b[11*RecordSize:]...) }, 10, 0, 11},
		{"record of another log", func(b []byte) []byte {
			line, _ := encode(Record{Number: 4}, time.Now(), newSource())
			copy(b[4*RecordSize:], line)
			return b
		}, 4, 0, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, _ := newLog(t, 0)
			var content []byte
			last := Record{}
			for range records {
				var line []byte
				line, last = encode(last, time.Now(), newSource())
				content = append(content, line...)
			}
			if err := os.WriteFile(path, tt.damage(content), 0o644); err != nil {
				t.Fatal(err)
			}
			again, rep, err := OpenLog(path)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if rep.Records != tt.records || rep.Last != tt.records || rep.Torn != tt.torn || rep.FirstBad != tt.bad {
				t.Fatalf("report %+v, want %d records, %d torn, first bad %d", rep, tt.records, tt.torn, tt.bad)
			}
			if rep.OK() != (tt.bad == 0) {
				t.Fatalf("OK is %v: %+v", rep.OK(), rep)
			}
			if tt.bad != 0 {
				return
			}
			rec, err := again.Append(time.Now())
			if err != nil || rec.Number != tt.records+1 {
				t.Fatalf("append: %d, %v; want record %d", rec.Number, err, tt.records+1)
			}
		})
	}
}

func TestRecordIsText(t *testing.T) {
	line, rec := encode(Record{}, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), newSource())
	if len(line) != RecordSize || bytes.IndexByte(line, '\n') != RecordSize-1 {
		t.Fatalf("%d bytes: %q", len(line), line)
	}
	if !strings.HasPrefix(string(line), "0000000000000001 2026-01-02T03:04:05.000000006Z 0000") {
		t.Fatalf("%q", line)
	}
	got, err := decode(line, Record{})
	if err != nil || got != rec {
		t.Fatalf("decode: %+v, %v; want %+v", got, err, rec)
	}
}

func serveDB(t *testing.T, l *Log, rep Report) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	db := NewDB(l, rep)
	done := make(chan error, 2)
	go func() { done <- db.Serve(ctx, ln) }()
	go func() { done <- db.Run(ctx, time.Millisecond) }()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	return ln.Addr().String()
}

func TestAcknowledgements(t *testing.T) {
	path, l := newLog(t, 5)
	addr := serveDB(t, l, Report{Fsck: "clean"})
	enough := errors.New("enough")
	var acks []Ack
	err := Watch(t.Context(), addr, func(a Ack) error {
		// What is acknowledged must be in the file at that moment.
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if uint64(len(b)) < a.Number*RecordSize || string(b[a.Number*RecordSize-65:a.Number*RecordSize-1]) != a.Sum {
			return fmt.Errorf("record %d acknowledged, not written", a.Number)
		}
		if acks = append(acks, a); len(acks) == 40 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	for i, a := range acks {
		if i > 0 && a.Number != acks[i-1].Number+1 {
			t.Fatalf("gap after %d: %d", acks[i-1].Number, a.Number)
		}
	}
	last := acks[len(acks)-1]
	rec, err := Newest(t.Context(), addr)
	if err != nil || rec.Number < last.Number {
		t.Fatalf("newest %d, %v; want at least %d", rec.Number, err, last.Number)
	}
	rep, err := Check(t.Context(), addr)
	if err != nil || !rep.OK() || rep.Records < rec.Number || rep.First != 1 {
		t.Fatalf("check %+v, %v", rep, err)
	}
}

func TestDamagedLogIsServedNotExtended(t *testing.T) {
	_, l := newLog(t, 3)
	addr := serveDB(t, l, Report{Records: 3, Last: 3, FirstBad: 4, Why: "checksum mismatch"})
	rep, err := Check(t.Context(), addr)
	if err != nil || rep.OK() || rep.FirstBad != 4 {
		t.Fatalf("check %+v, %v", rep, err)
	}
	if rec, err := Newest(t.Context(), addr); err != nil || rec.Number != 3 {
		t.Fatalf("newest %d, %v", rec.Number, err)
	}
}

func TestWeb(t *testing.T) {
	_, l := newLog(t, 7)
	for _, tt := range []struct {
		name, db string
		status   int
		body     string
	}{
		{"database up", serveDB(t, l, Report{}), 200, `{"record":`},
		{"database away", "127.0.0.1:1", 503, `{"error":`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- (&Web{DB: tt.db, Log: io.Discard}).Serve(ctx, ln) }()
			defer func() { cancel(); <-done }()
			resp, err := http.Get("http://" + ln.Addr().String() + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || !strings.HasPrefix(string(body), tt.body) {
				t.Fatalf("%d %s, %v", resp.StatusCode, body, err)
			}
		})
	}
}

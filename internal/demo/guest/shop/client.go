package shop

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// An Ack says that a record is durable.
type Ack struct {
	Number uint64
	Sum    string // 64 hexadecimal digits
}

// Watch calls fn for each acknowledgement that the database at addr sends, until ctx ends, fn fails, or the connection does.
// It always returns an error.
func Watch(ctx context.Context, addr string, fn func(Ack) error) error {
	return talk(ctx, addr, "", func(word, rest string) (bool, error) {
		if word != "ack" {
			return false, nil
		}
		number, sum, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return false, fmt.Errorf("acknowledgement %q: %w", rest, err)
		}
		return false, fn(Ack{Number: n, Sum: sum})
	})
}

// Check has the database at addr verify every record and returns what it found.
func Check(ctx context.Context, addr string) (Report, error) {
	var rep Report
	err := talk(ctx, addr, "check", func(word, rest string) (bool, error) {
		if word != "check" {
			return false, nil
		}
		return true, json.Unmarshal([]byte(rest), &rep)
	})
	return rep, err
}

// Newest asks the database at addr for its newest durable record. Prev is not filled in.
func Newest(ctx context.Context, addr string) (Record, error) {
	var rec Record
	err := talk(ctx, addr, "newest", func(word, rest string) (bool, error) {
		if word != "record" {
			return false, nil
		}
		f := strings.Fields(rest)
		if len(f) != 3 || len(f[2]) != 2*len(rec.Sum) {
			return false, fmt.Errorf("record %q: malformed", rest)
		}
		var err error
		if rec.Number, err = strconv.ParseUint(f[0], 10, 64); err != nil {
			return false, fmt.Errorf("record %q: %w", rest, err)
		}
		if rec.Time, err = time.Parse(time.RFC3339Nano, f[1]); err != nil {
			return false, fmt.Errorf("record %q: %w", rest, err)
		}
		_, err = hex.Decode(rec.Sum[:], []byte(f[2]))
		return true, err
	})
	return rec, err
}

// talk sends a request, when there is one, and hands each line to fn until it says that it is done.
func talk(ctx context.Context, addr, request string, fn func(word, rest string) (done bool, err error)) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("shop-db: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if request != "" {
		if _, err := fmt.Fprintln(conn, request); err != nil {
			return fmt.Errorf("shop-db at %s: %w", addr, err)
		}
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if done, err := fn(word, rest); done || err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("shop-db at %s: %w", addr, ctx.Err())
	}
	if lines.Err() != nil {
		return fmt.Errorf("shop-db at %s: %w", addr, lines.Err())
	}
	return fmt.Errorf("shop-db at %s: closed the connection", addr)
}

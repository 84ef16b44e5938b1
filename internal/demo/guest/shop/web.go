package shop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// dbWait bounds how long a page waits for the database before it answers 503.
const dbWait = 3 * time.Second

// A Web serves the newest record over HTTP/1.0 at every path: status 200 with {"record","time","sum"}, or 503 with
// {"error"} when the database does not answer. (net/http would double the size of the guest.)
type Web struct {
	DB  string    // address of the database
	Log io.Writer // one line per request
}

// Serve answers connections until ctx ends.
func (s *Web) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	lines := make(chan string)
	go func() {
		for {
			select {
			case line := <-lines:
				fmt.Fprintln(s.Log, line)
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		go func() {
			line := s.answer(ctx, conn)
			select {
			case lines <- line:
			case <-ctx.Done():
			}
		}()
	}
}

func (s *Web) answer(ctx context.Context, conn net.Conn) string {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * dbWait))
	lines := bufio.NewScanner(io.LimitReader(conn, 64<<10))
	var request string
	for lines.Scan() && lines.Text() != "" {
		if request == "" {
			request = lines.Text()
		}
	}
	method, _, _ := strings.Cut(request, " ")
	status, body := s.page(ctx, method)
	b, err := json.Marshal(body)
	if err != nil {
		status, b = "500 Internal Server Error", []byte("{}")
	}
	b = append(b, '\n')
	fmt.Fprintf(conn, "HTTP/1.0 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", status, len(b))
	if method != "HEAD" {
		conn.Write(b)
	}
	return fmt.Sprintf("%s %s -> %s", time.Now().UTC().Format(time.RFC3339), request, status)
}

func (s *Web) page(ctx context.Context, method string) (status string, body any) {
	if method != "GET" && method != "HEAD" {
		return "405 Method Not Allowed", map[string]string{"error": "method not allowed"}
	}
	ctx, cancel := context.WithTimeout(ctx, dbWait)
	defer cancel()
	rec, err := Newest(ctx, s.DB)
	if err != nil {
		return "503 Service Unavailable", map[string]string{"error": err.Error()}
	}
	return "200 OK", struct {
		Record uint64    `json:"record"`
		Time   time.Time `json:"time"`
		Sum    string    `json:"sum"`
	}{rec.Number, rec.Time, fmt.Sprintf("%x", rec.Sum)}
}

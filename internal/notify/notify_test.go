package notify

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
)

var event = Event{ID: "stack-7", Time: time.Unix(1700000000, 0).UTC(), Source: "monitor stack", Kind: Success, Subject: "Update 1.2309: réussi\nBcc: evil@example.com", Text: "Took: 2h"}

func sender() Sender {
	return Sender{Secret: func(ref string) (string, error) {
		if ref != "env:HOOK" {
			return "", errors.New("no such secret")
		}
		return "s3cret", nil
	}}
}

func TestWebhook(t *testing.T) {
	status := http.StatusNoContent
	var got Event
	var key string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get(SignatureHeader) != Sign("s3cret", body) || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", r.Header)
		}
		key = r.Header.Get("Idempotency-Key")
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	c := Channel{Name: "ops", Kind: Webhook, URL: server.URL, Secret: "env:HOOK"}
	if err := sender().Send(t.Context(), c, event); err != nil || got != event || key != "stack-7" {
		t.Errorf("%+v %q %v", got, key, err)
	}
	status = http.StatusBadGateway
	if err := sender().Send(t.Context(), c, event); dr.KindOf(err) != dr.KindUnavailable || !strings.Contains(err.Error(), "502") || dr.Hint(err) == "" {
		t.Errorf("a refusal: %v", err)
	}
	c.Secret = "env:OTHER"
	if err := sender().Send(t.Context(), c, event); err == nil {
		t.Error("sent without its secret")
	}
}

// mailServer takes one mail, and returns it.
func mailServer(t *testing.T) (address string, got chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	got = make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in, text := bufio.NewReader(conn), strings.Builder{}
		fmt.Fprint(conn, "220 ready\r\n")
		for data := false; ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			word := strings.ToUpper(strings.Fields(line + " x")[0])
			switch {
			case data && line == ".\r\n":
				data = false
				got <- text.String()
				fmt.Fprint(conn, "250 taken\r\n")
			case data:
				text.WriteString(line)
			case word == "EHLO":
				fmt.Fprint(conn, "250-here\r\n250 8BITMIME\r\n")
			case word == "DATA":
				data = true
				fmt.Fprint(conn, "354 go on\r\n")
			case word == "RCPT" && strings.Contains(line, "nobody@"):
				fmt.Fprint(conn, "550 unknown\r\n")
			case word == "QUIT":
				fmt.Fprint(conn, "221 bye\r\n")
				return
			default:
				fmt.Fprint(conn, "250 ok\r\n")
			}
		}
	}()
	return l.Addr().String(), got
}

func TestMail(t *testing.T) {
	address, got := mailServer(t)
	c := Channel{Name: "mail", Kind: SMTP, URL: "smtp://" + address, From: "Understudy <understudy@example.com>", To: []string{"ops@example.com"}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if err := sender().Send(t.Context(), c, event); err != nil {
		t.Fatal(err)
	}
	m, err := mail.ReadMessage(strings.NewReader(<-got))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(m.Body)
	if m.Header.Get("Bcc") != "" || m.Header.Get("Message-Id") != "<stack-7@understudy>" || !strings.Contains(m.Header.Get("Subject"), "success") || !strings.Contains(string(body), "Took: 2h") {
		t.Errorf("%v\n%s", m.Header, body)
	}
	address, _ = mailServer(t)
	c.URL, c.To = "smtp://"+address, []string{"nobody@example.com"}
	if err := sender().Send(t.Context(), c, event); dr.KindOf(err) != dr.KindUnavailable || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("an unknown receiver: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for want, c := range map[string]Channel{
		"no name":        {Kind: Webhook, URL: "https://example.com"},
		"no http URL":    {Name: "a", Kind: Webhook, URL: "example.com"},
		"no mail server": {Name: "a", Kind: SMTP, URL: "smtp://example.com"},
		"nobody":         {Name: "a", Kind: SMTP, URL: "smtp://example.com:25", From: "a@example.com"},
		"no mail addr":   {Name: "a", Kind: SMTP, URL: "smtp://example.com:25", From: "a", To: []string{"b@example.com"}},
		"not known":      {Name: "a", Kind: "pigeon"},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) || dr.Hint(err) == "" {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

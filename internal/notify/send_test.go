package notify

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
)

var event = Event{ID: "lag-shop-1-2", Time: time.Unix(1700000000, 0).UTC(), Source: "group shop", Kind: Problem, Topic: TopicLag, Severity: Critical, Key: "lag/shop", Ends: "lag-shop-1-1",
	Since: time.Unix(1699990000, 0).UTC(), Repeat: 1, Group: "shop", Sites: []string{"east", "west"}, Vault: "main", Run: "r-1",
	Subject: "shop would lose 2h & more: réussi\nBcc: evil@example.com", Text: "Replication fails: <no space> in *vault*\nsince noon", Loss: "2h", Next: []string{"understudy status shop", "understudy resume shop"}, Link: "/groups/shop"}

func sender() Sender {
	return Sender{Console: "https://console.example/", Now: func() time.Time { return time.Unix(1700000042, 0) }, Secret: func(ref string) (string, error) {
		switch ref {
		case "env:HOOK":
			return "s3cret", nil
		case "env:NOWHERE":
			return "http://127.0.0.1:1/services/T0/B0/hidden", nil
		}
		return "", errors.New("no such secret")
	}}
}

// TestSign is the vector that the specification of Standard Webhooks publishes.
func TestSign(t *testing.T) {
	got := Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
}

func TestWebhook(t *testing.T) {
	answer := func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }
	var got Event
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id, at := r.Header.Get(IDHeader), r.Header.Get(TimestampHeader)
		seconds, _ := strconv.ParseInt(at, 10, 64)
		if r.Header.Get(SignatureHeader) != Sign("s3cret", id, time.Unix(seconds, 0), body) || r.Header.Get("Content-Type") != "application/json" ||
			id != event.ID || r.Header.Get("Idempotency-Key") != event.ID || seconds != 1700000042 {
			t.Errorf("headers %v", r.Header)
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		answer(w)
	}))
	defer server.Close()
	c := Channel{Name: "ops", Kind: Webhook, URL: server.URL, Secret: "env:HOOK"}
	want := event
	want.Link = "https://console.example/groups/shop"
	if err := sender().Send(t.Context(), c, event); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	for _, tt := range []struct {
		status int
		itself bool
		after  time.Duration
	}{{502, false, 0}, {400, true, 0}, {429, false, 7 * time.Second}, {307, false, 0}, {404, false, 0}} {
		answer = func(w http.ResponseWriter) {
			if tt.after > 0 {
				w.Header().Set("Retry-After", "7")
			}
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(tt.status)
		}
		err := sender().Send(t.Context(), c, event)
		if dr.KindOf(err) != dr.KindUnavailable || !strings.Contains(err.Error(), strconv.Itoa(tt.status)) || dr.Hint(err) == "" || Unacceptable(err) != tt.itself || RetryAfter(err) != tt.after {
			t.Errorf("%d: %v", tt.status, err)
		}
	}
	c.Secret = "env:OTHER"
	if err := sender().Send(t.Context(), c, event); err == nil {
		t.Error("sent without its secret")
	}
	c = Channel{Name: "slack", Kind: Slack, Secret: "env:NOWHERE"}
	if err := sender().Send(t.Context(), c, event); err == nil || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("an address that is a secret: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for want, c := range map[string]Channel{
		"no name":                   {Kind: Webhook, URL: "https://example.com"},
		"no http URL":               {Name: "a", Kind: Webhook, URL: "example.com"},
		"no mail server":            {Name: "a", Kind: SMTP, URL: "smtp://example.com"},
		"nobody":                    {Name: "a", Kind: SMTP, URL: "smtp://example.com:25", From: "a@example.com"},
		"no mail addr":              {Name: "a", Kind: SMTP, URL: "smtp://example.com:25", From: "a", To: []string{"b@example.com"}},
		"not known":                 {Name: "a", Kind: "pigeon"},
		"that slack gave":           {Name: "a", Kind: Slack},
		"secret is not a reference": {Name: "a", Kind: Webhook, URL: "https://example.com", Secret: "hunter2"},
		"that teams gave":           {Name: "a", Kind: Teams, URL: "https://example.com", Secret: "env:X"},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) || dr.Hint(err) == "" {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	for _, c := range []Channel{{Name: "a", Kind: Slack, Secret: "file:x"}, {Name: "a", Kind: Teams, URL: "https://x.example/hook"}} {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Settings{Console: "console.example"}).Check(); dr.Hint(err) == "" {
		t.Errorf("a console without a scheme: %v", err)
	}
	if err := (Settings{Console: "https://console.example", Repeat: -1}).Check(); err != nil {
		t.Error(err)
	}
}

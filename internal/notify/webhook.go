package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Headers of webhooks, as https://www.standardwebhooks.com has them, so that its libraries verify them.
const (
	IDHeader        = "Webhook-Id"        // the event's
	TimestampHeader = "Webhook-Timestamp" // of the attempt, in seconds since 1970
	SignatureHeader = "Webhook-Signature"
)

// Sign is the value of SignatureHeader: v1, and the HMAC-SHA256 of "ID.TIMESTAMP.BODY" in base64. A receiver refuses what
// is older than a few minutes, so that what was overheard cannot be sent again. A secret that begins with whsec_ is the key
// in base64, any other is the key itself.
func Sign(secret, id string, at time.Time, body []byte) string {
	key := []byte(secret)
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			key = decoded
		}
	}
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

func (s Sender) webhook(ctx context.Context, c Channel, secret string, e Event) error {
	return s.post(ctx, c.URL, e, func(h http.Header, body []byte) {
		h.Set("Idempotency-Key", e.ID)
		h.Set(IDHeader, e.ID)
		at := s.Now()
		h.Set(TimestampHeader, strconv.FormatInt(at.Unix(), 10))
		if secret != "" {
			h.Set(SignatureHeader, Sign(secret, e.ID, at, body))
		}
	})
}

// client does not follow redirections: what is told is for the address that was given.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// unacceptable are the statuses of receivers that refuse a body for what it is.
var unacceptable = []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}

// post sends JSON. Its errors do not show the address, which may be a secret.
func (s Sender) post(ctx context.Context, to string, v any, sign func(h http.Header, body []byte)) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSpace(to), bytes.NewReader(body))
	if err != nil {
		return errors.New("the address is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "understudy")
	if sign != nil {
		sign(req.Header, body)
	}
	c := s.Client
	if c == nil {
		c = client
	}
	resp, err := c.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // only for the error
	err = resp.Body.Close()
	if resp.StatusCode >= 300 {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // a date is not understood, and waits as long as usual
		return &refusal{
			text:   fmt.Sprintf("%s: %s: %s", req.URL.Host, resp.Status, strings.Join(strings.Fields(string(text)), " ")),
			itself: slices.Contains(unacceptable, resp.StatusCode), after: time.Duration(max(0, seconds)) * time.Second,
		}
	}
	return err
}

// Package client speaks to a controller's API. Errors are those of the controller, with their kind and hint. What an
// operation takes and gives is known from its handler: the methods in operations.go are generated. Streams and files are
// written by hand.
package client

//go:generate go run ../cmd/client operations.go

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

// A Client is a connection to one controller. Its methods may be called from many goroutines at once.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New returns a client of the controller at a URL, such as http://127.0.0.1:7700.
func New(base, token string) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), token: token, http: &http.Client{}}
}

// URL is the controller's URL.
func (c *Client) URL() string { return c.base }

func path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, p := range parts {
		p = url.PathEscape(p)
		if p == "." || p == ".." { // these lead elsewhere, where there may be another operation
			p = strings.ReplaceAll(p, ".", "%2E")
		}
		b.WriteString("/" + p)
	}
	return b.String()
}

// query is the query of parameters, given as name and value by turns. Zero values are left out.
func query(pairs ...any) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		name := pairs[i].(string)
		switch v := pairs[i+1].(type) {
		case string:
			if v != "" {
				q.Set(name, v)
			}
		case bool:
			if v {
				q.Set(name, "true")
			}
		case int64:
			if v != 0 {
				q.Set(name, strconv.FormatInt(v, 10))
			}
		case time.Time:
			if !v.IsZero() {
				q.Set(name, v.UTC().Format(time.RFC3339Nano))
			}
		case []string:
			for _, one := range v {
				q.Add(name, one)
			}
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// do sends a request and decodes the answer into out, unless out is nil.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the controller's answer: %w", err)
	}
	return nil
}

// maxProblem bounds how much of an error answer is read, in bytes.
const maxProblem = 1 << 20

// send sends a request; headers are names and values in turn.
func (c *Client) send(ctx context.Context, method, path string, in any, headers ...string) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, dr.WithHint(err, dr.KindInvalid, "the controller's URL is like http://127.0.0.1:7700")
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, dr.WithHint(fmt.Errorf("reach the controller at %s: %w", c.base, err), dr.KindUnavailable, reachHint(err))
	}
	if resp.StatusCode >= 300 || strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		defer resp.Body.Close()
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
		if err != nil {
			return nil, fmt.Errorf("read the controller's answer: %w", err)
		}
		return nil, problem(resp.StatusCode, data)
	}
	return resp, nil
}

// problem is the error that the controller sent.
func problem(status int, data []byte) error {
	var p wire.Problem
	if err := json.Unmarshal(data, &p); err != nil || p.Detail == "" {
		// What net/http answers before anything of the controller does.
		if status == http.StatusBadRequest && bytes.Contains(data, []byte("HTTP request to an HTTPS server")) {
			return dr.WithHint(errors.New("the controller is served with TLS"), dr.KindInvalid, "use https:// in --api")
		}
		return dr.WithHint(fmt.Errorf("the controller answered %d %s", status, http.StatusText(status)), dr.KindUnavailable,
			"is the URL that of an understudy controller?")
	}
	kind := dr.Kind(p.Kind)
	if kind == "unauthorised" {
		kind = dr.KindInvalid
	}
	return dr.WithHint(errors.New(p.Error()), kind, p.Hint)
}

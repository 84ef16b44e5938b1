package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"understudy/internal/dr"
)

// requestTimeout bounds one request to a collector.
const requestTimeout = 10 * time.Second

// A Client administers a collector. Its methods may be called from many goroutines at once.
type Client struct {
	base  string
	token func() (string, error)
	http  *http.Client
}

// NewClient returns a client of the collector at a URL. The token is asked for with every request, so that it can be
// changed where it is kept.
func NewClient(base string, token func() (string, error)) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), token: token, http: &http.Client{Timeout: requestTimeout}}
}

// URL is where the collector is.
func (c *Client) URL() string { return c.base }

// Rules lists the rules.
func (c *Client) Rules(ctx context.Context) (list []Rule, err error) {
	return list, c.do(ctx, http.MethodGet, "rules", nil, &list)
}

// PutRule adds a rule or changes it.
func (c *Client) PutRule(ctx context.Context, r Rule) error {
	return c.do(ctx, http.MethodPut, path("rules", r.Name), r, nil)
}

// DeleteRule removes a rule that nothing is associated with.
func (c *Client) DeleteRule(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("rules", name), nil, nil)
}

// Registrations lists what is registered and what is refused.
func (c *Client) Registrations(ctx context.Context) (v Instant, err error) {
	return v, c.do(ctx, http.MethodGet, "registrations", nil, &v)
}

// Register registers a machine's extension anew; the result has its token.
func (c *Client) Register(ctx context.Context, machine, extension string) (r Registration, err error) {
	return r, c.do(ctx, http.MethodPut, path("registrations", machine, extension), nil, &r)
}

// Unregister forgets a machine's extension.
func (c *Client) Unregister(ctx context.Context, machine, extension string) error {
	return c.do(ctx, http.MethodDelete, path("registrations", machine, extension), nil, nil)
}

// Associate ties a registration to a rule.
func (c *Client) Associate(ctx context.Context, machine, extension string, a dr.Association) error {
	return c.do(ctx, http.MethodPut, path("registrations", machine, extension, "associations", a.Name), a, nil)
}

// Dissociate ends an association.
func (c *Client) Dissociate(ctx context.Context, machine, extension, name string) error {
	return c.do(ctx, http.MethodDelete, path("registrations", machine, extension, "associations", name), nil, nil)
}

func path(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	fail := func(err error, hint string) error {
		return dr.WithHint(fmt.Errorf("collector at %s: %w", c.base, err), dr.KindUnavailable, hint)
	}
	token, err := c.token()
	if err != nil {
		return fail(err, "see collector.token of the site")
	}
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/v1/"+path, body)
	if err != nil {
		return dr.WithHint(err, dr.KindInvalid, "a collector's URL is like http://127.0.0.1:9101")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fail(err, "start it: understudy collector serve --dir DIR")
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fail(err, "")
	}
	if resp.StatusCode >= 300 {
		var p problem
		if json.Unmarshal(data, &p) != nil || p.Detail == "" {
			return fail(fmt.Errorf("it answered %s", resp.Status), "is that the URL of a collector?")
		}
		if resp.StatusCode == http.StatusUnauthorized {
			return dr.WithHint(fmt.Errorf("collector at %s: its administrator's token is another", c.base), dr.KindInvalid,
				"the token is in the file "+TokenFile+" of the collector's folder; see collector.token of the site")
		}
		kind := dr.Kind(p.Kind)
		if kind == "" {
			kind = dr.KindInternal
		}
		return dr.WithHint(fmt.Errorf("collector at %s: %s", c.base, p.Detail), kind, p.Hint)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fail(fmt.Errorf("read its answer: %w", err), "is that the URL of a collector?")
	}
	return nil
}

// Package client speaks to a controller's API. Errors are those of the controller, with their kind and hint.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

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

// Version asks which version the controller is.
func (c *Client) Version(ctx context.Context) (v wire.Version, err error) {
	return v, c.do(ctx, http.MethodGet, "/v1/version", nil, &v)
}

// Sites lists the sites.
func (c *Client) Sites(ctx context.Context) (list []wire.Site, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/sites", nil, &list)
}

// Site shows a site.
func (c *Client) Site(ctx context.Context, name string) (v wire.Site, err error) {
	return v, c.do(ctx, http.MethodGet, path("sites", name), nil, &v)
}

// AddSite adds a site.
func (c *Client) AddSite(ctx context.Context, s wire.Site) (v wire.Site, err error) {
	return v, c.do(ctx, http.MethodPost, "/v1/sites", s, &v)
}

// RemoveSite forgets a site.
func (c *Client) RemoveSite(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("sites", name), nil, nil)
}

// Machines lists the machines of a site.
func (c *Client) Machines(ctx context.Context, site string) (list []dr.Machine, err error) {
	return list, c.do(ctx, http.MethodGet, path("sites", site, "machines"), nil, &list)
}

// Power starts or stops a machine.
func (c *Client) Power(ctx context.Context, site, machine, action string) error {
	return c.do(ctx, http.MethodPost, path("sites", site, "machines", machine, "power"), wire.Power{Action: action}, nil)
}

// Policies lists the policies.
func (c *Client) Policies(ctx context.Context) (list []wire.Policy, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/policies", nil, &list)
}

// PutPolicy adds or changes a policy.
func (c *Client) PutPolicy(ctx context.Context, p wire.Policy) (v wire.Policy, err error) {
	return v, c.do(ctx, http.MethodPut, "/v1/policies", p, &v)
}

// RemovePolicy removes a policy.
func (c *Client) RemovePolicy(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("policies", name), nil, nil)
}

// Vaults lists the vaults.
func (c *Client) Vaults(ctx context.Context) (list []wire.Vault, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/vaults", nil, &list)
}

// Vault shows a vault.
func (c *Client) Vault(ctx context.Context, name string) (v wire.Vault, err error) {
	return v, c.do(ctx, http.MethodGet, path("vaults", name), nil, &v)
}

// AddVault adds a vault, made where there is none.
func (c *Client) AddVault(ctx context.Context, in wire.Vault) (v wire.Vault, err error) {
	return v, c.do(ctx, http.MethodPost, "/v1/vaults", in, &v)
}

// RemoveVault forgets a vault.
func (c *Client) RemoveVault(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("vaults", name), nil, nil)
}

// Group shows a group.
func (c *Client) Group(ctx context.Context, name string) (v wire.Group, err error) {
	return v, c.do(ctx, http.MethodGet, path("groups", name), nil, &v)
}

// Protect protects a group, or changes how.
func (c *Client) Protect(ctx context.Context, g wire.Group) (v wire.Group, err error) {
	return v, c.do(ctx, http.MethodPost, "/v1/groups", g, &v)
}

// Unprotect stops protecting a group.
func (c *Client) Unprotect(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("groups", name), nil, nil)
}

// Status tells what would be lost now.
func (c *Client) Status(ctx context.Context, group string) (v wire.Status, err error) {
	return v, c.do(ctx, http.MethodGet, path("groups", group, "status"), nil, &v)
}

// Points lists recovery points, the oldest first.
func (c *Client) Points(ctx context.Context, group string) ([]dr.RecoveryPoint, error) {
	list := []dr.RecoveryPoint{}
	for q := (Query{}); ; {
		var p Page
		part, err := page[dr.RecoveryPoint](ctx, c, path("groups", group, "points"), q, &p)
		if err != nil {
			return nil, err
		}
		if list = append(list, part...); p.Next == "" {
			return list, nil
		}
		q["cursor"] = p.Next
	}
}

// Sync runs a cycle and waits for it.
func (c *Client) Sync(ctx context.Context, group string) (v wire.Cycle, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "sync"), nil, &v)
}

// Pause pauses replication.
func (c *Client) Pause(ctx context.Context, group string) error {
	return c.do(ctx, http.MethodPost, path("groups", group, "pause"), nil, nil)
}

// Resume goes on with replication.
func (c *Client) Resume(ctx context.Context, group string) error {
	return c.do(ctx, http.MethodPost, path("groups", group, "resume"), nil, nil)
}

// Failover begins a failover or a rehearsal.
func (c *Client) Failover(ctx context.Context, group string, f wire.Failover) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "failover"), f, &v)
}

// Commit begins to make a failover final.
func (c *Client) Commit(ctx context.Context, group string) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "commit"), nil, &v)
}

// Cleanup begins to remove what a test failover made.
func (c *Client) Cleanup(ctx context.Context, group string) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "cleanup"), nil, &v)
}

// RunFilter selects runs.
type RunFilter struct {
	Group  string
	Active bool
	Limit  int
}

// Runs lists runs, the newest first.
func (c *Client) Runs(ctx context.Context, f RunFilter) (list []wire.Run, err error) {
	q := url.Values{}
	if f.Group != "" {
		q.Set("group", f.Group)
	}
	if f.Active {
		q.Set("active", "true")
	}
	if f.Limit > 0 {
		q.Set("limit", fmt.Sprint(f.Limit))
	}
	return list, c.do(ctx, http.MethodGet, "/v1/runs?"+q.Encode(), nil, &list)
}

// Run shows a run and its steps.
func (c *Client) Run(ctx context.Context, id string) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodGet, path("runs", id), nil, &v)
}

// CancelRun asks a run to stop.
func (c *Client) CancelRun(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, path("runs", id, "cancel"), nil, nil)
}

// Fences lists machines that must not run.
func (c *Client) Fences(ctx context.Context, group string) ([]wire.Fence, error) {
	return all[wire.Fence](ctx, c, "/v1/fences", Query{"group": group})
}

// Watch calls fn with the run at every change until it has ended, ctx ends or fn returns an error.
// A connection that breaks is dr.KindUnavailable; the run does not depend on it.
func (c *Client) Watch(ctx context.Context, id string, fn func(wire.Run) error) error {
	resp, err := c.send(ctx, http.MethodGet, path("runs", id, "watch"), nil)
	if err != nil {
		return fmt.Errorf("watch run %s: %w", id, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	event := ""
	over := false
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = name
			continue
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if event == "problem" {
			return fmt.Errorf("watch run %s: %w", id, problem(http.StatusOK, []byte(data)))
		}
		var run wire.Run
		if err := json.Unmarshal([]byte(data), &run); err != nil {
			return fmt.Errorf("watch run %s: %w", id, err)
		}
		over = run.Over()
		if err := fn(run); err != nil {
			return err
		}
	}
	if over {
		return nil
	}
	err = lines.Err()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return dr.WithHint(fmt.Errorf("watch run %s: the controller went away: %w", id, err), dr.KindUnavailable,
		"the run goes on when the controller does: understudy run watch "+id)
}

func path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
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

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
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

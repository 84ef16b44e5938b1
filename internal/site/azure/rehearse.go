package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"

	"understudy/internal/site"
)

// recorder keeps what would be sent. What would have been made is there for who looks at it afterwards, so that the same
// code runs as when it is meant.
type recorder struct {
	mu    sync.Mutex
	calls []site.ProviderCall
	made  map[string]map[string]any // by path in lower case
}

func (r *recorder) note(method, path, body string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, site.ProviderCall{Method: method, Path: path, Body: body})
}

// answer takes a request that changes something, or one for what such a request would have made; nil for another.
func (r *recorder) answer(c call, version string) (*http.Response, error) {
	key := strings.ToLower(c.path)
	if c.method == http.MethodGet {
		r.mu.Lock()
		defer r.mu.Unlock()
		if made, ok := r.made[key]; ok {
			data, err := json.Marshal(made)
			return answered(http.StatusOK, data), err
		}
		return nil, nil
	}
	var body []byte
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return nil, err
		}
	}
	q := maps.Clone(c.query)
	if q == nil {
		q = map[string][]string{}
	}
	q.Set("api-version", version)
	r.note(c.method, c.path+"?"+q.Encode(), string(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c.method {
	case http.MethodPut:
		return answered(http.StatusNoContent, nil), r.make(c.path, body)
	case http.MethodDelete:
		delete(r.made, key)
	}
	return answered(http.StatusNoContent, nil), nil
}

// make has a resource exist, with the subnets within it, and what its provider would say of it when it is complete.
func (r *recorder) make(path string, body []byte) error {
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	p, ok := v["properties"].(map[string]any)
	if !ok {
		p = map[string]any{}
		v["properties"] = p
	}
	subnets, _ := p["subnets"].([]any) // of a network only
	for _, one := range subnets {
		if s, ok := one.(map[string]any); ok {
			r.made[strings.ToLower(fmt.Sprintf("%s/subnets/%v", path, s["name"]))] = s
		}
	}
	v["id"], v["name"] = path, lastName(path)
	p["diskState"], p["completionPercent"] = "Unattached", 100
	r.made[strings.ToLower(path)] = v
	return nil
}

func answered(status int, body []byte) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: &http.Request{}}
}

// rehearsal is a site that records what it would send, and keeps nothing.
func (s *Site) rehearsal(r *recorder) *Site {
	client := *s.rest
	client.record = r
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Site{cfg: s.cfg, can: s.can, http: s.http, rest: &client, life: s.life, end: func(error) {}, open: maps.Clone(s.open), locks: map[string]*sync.Mutex{}, captures: map[string]string{},
		state: state{Prepared: maps.Clone(s.state.Prepared), Next: maps.Clone(s.state.Next), Kept: maps.Clone(s.state.Kept)}}
}

func newRecorder() *recorder { return &recorder{made: map[string]map[string]any{}} }

// RehearseProvision implements site.Rehearser.
func (s *Site) RehearseProvision(ctx context.Context, q site.ProvisionRequest, start bool) ([]site.ProviderCall, error) {
	rec := newRecorder()
	dry := s.rehearsal(rec)
	err := dry.provision(ctx, q, func(ctx context.Context, name string, spec diskSpec) error {
		if err := dry.putDisk(ctx, spec); err != nil {
			return err
		}
		if err := dry.rest.run(ctx, dry.beginAccess(spec.id, "Write"), nil); err != nil {
			return err
		}
		rec.note(http.MethodPut, "(the grant of "+lastName(spec.id)+")?comp=page", fmt.Sprintf("what is not zero of %d bytes, in pieces of %d", spec.size, maxPages))
		return dry.endAccess(ctx, spec.id)
	})
	if err == nil && start {
		err = dry.Power(ctx, q.Machine.Name, site.PowerStart)
	}
	return rec.calls, explain(err)
}

// RehearseFence implements site.Rehearser.
func (s *Site) RehearseFence(ctx context.Context, machine string) ([]site.ProviderCall, error) {
	rec := newRecorder()
	err := s.rehearsal(rec).Fence(ctx, machine, true, "failover")
	return rec.calls, explain(err)
}

// RehearseCopy implements site.Rehearser.
func (s *Site) RehearseCopy(ctx context.Context, q site.CopyRequest, start bool) ([]site.ProviderCall, error) {
	from, ok := q.From.(*Site)
	if !ok {
		return nil, fmt.Errorf("copy machine %s: the sites are not of one cloud", q.Source)
	}
	rec := newRecorder()
	dry := s.rehearsal(rec)
	source := dry
	if from != s {
		source = from.rehearsal(rec)
	}
	q.From, q.Verify = source, false
	if _, err := dry.CopyMachine(ctx, q, func(int64, int64) {}); err != nil {
		return rec.calls, explain(err)
	}
	var err error
	if start {
		err = dry.Power(ctx, q.Machine.Name, site.PowerStart)
	}
	c := serverCopy{from: source, to: dry, q: q}
	for _, at := range []*Site{source, dry} {
		for _, d := range q.Machine.Disks {
			id := c.snapshotID(at, d.Name)
			if _, made := rec.made[strings.ToLower(id)]; made && err == nil {
				err = dry.deleteDisk(ctx, id)
			}
		}
	}
	return rec.calls, explain(err)
}

// width is how many things are done at a time: one after the other when they are recorded.
func (s *Site) width(usual int) int {
	if s.rest.record != nil {
		return 1
	}
	return usual
}

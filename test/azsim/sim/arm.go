package sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A resource is one object of Azure Resource Manager.
type resource struct {
	id     string // as it was first written
	kind   string // lower case: microsoft.compute/disks
	name   string
	region string
	doc    doc
	made   time.Time
}

// A target is what a request's path names.
type target struct {
	id     string // of the resource; of its parent for a list
	kind   string // of the resource or of the list's items
	name   string
	action string // after the resource: start, beginGetAccess, ...
	list   bool
	group  string // ID of the resource group, or empty
}

// armError is an answer of Resource Manager that is no success.
type armError struct {
	status int
	code   string
	text   string
	retry  time.Duration
}

func (e *armError) Error() string { return e.code + ": " + e.text }

func refusal(status int, code, format string, args ...any) *armError {
	return &armError{status: status, code: code, text: fmt.Sprintf(format, args...)}
}

func notFound(id string) *armError {
	return refusal(http.StatusNotFound, "ResourceNotFound", "The Resource '%s' was not found.", id)
}

// actions are what follows a resource's name for a GET.
var getActions = map[string]bool{"instanceview": true}

// parse reads a path of Resource Manager.
func parse(path string) (t target, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 2 || !strings.EqualFold(parts[0], "subscriptions") {
		return t, false
	}
	rest := parts[2:]
	t.id, t.kind, t.name = "/"+strings.Join(parts[:2], "/"), "microsoft.resources/subscriptions", parts[1]
	if len(rest) >= 1 && strings.EqualFold(rest[0], "resourceGroups") {
		t.kind = "microsoft.resources/resourcegroups"
		if len(rest) == 1 {
			t.list = true
			return t, true
		}
		t.id += "/resourceGroups/" + rest[1]
		t.name, t.group = rest[1], t.id
		rest = rest[2:]
	}
	for len(rest) > 0 && strings.EqualFold(rest[0], "providers") && len(rest) > 2 {
		t.id += "/providers/" + rest[1]
		t.kind = strings.ToLower(rest[1])
		rest = rest[2:]
		for len(rest) > 1 && !strings.EqualFold(rest[0], "providers") {
			t.id += "/" + rest[0] + "/" + rest[1]
			t.kind += "/" + strings.ToLower(rest[0])
			t.name = rest[1]
			rest = rest[2:]
		}
		if len(rest) == 1 {
			t.action = strings.ToLower(rest[0])
			return t, true
		}
	}
	if len(rest) == 1 {
		t.action = strings.ToLower(rest[0])
		return t, true
	}
	return t, len(rest) == 0
}

func (s *Sim) serveARM(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-ms-request-id", s.newID())
	body := doc{}
	if r.Body != nil && (r.Method == http.MethodPut || r.Method == http.MethodPatch || r.Method == http.MethodPost) {
		data, err := io.ReadAll(r.Body)
		if err == nil && len(data) > 0 {
			err = json.Unmarshal(data, &body)
		}
		if err != nil {
			s.refuse(w, refusal(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: %v", err))
			return
		}
	}
	if e := s.allowed(r); e != nil {
		s.refuse(w, e)
		return
	}
	lost := false
	if f := s.faults.match(r); f != nil {
		if f.Slow > 0 {
			select {
			case <-time.After(f.Slow):
			case <-r.Context().Done():
				return
			}
		}
		lost = f.Lose
		if f.Status != 0 {
			s.refuse(w, &armError{status: f.Status, code: f.Code, text: cmp.Or(f.Text, "as the fault says"), retry: f.RetryAfter})
			return
		}
	}
	a := s.answer(r, body)
	if lost {
		panic(http.ErrAbortHandler)
	}
	s.write(w, r, a)
}

// allowed checks what every request needs.
func (s *Sim) allowed(r *http.Request) *armError {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		return refusal(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	if !s.tokens.valid(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		return refusal(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid or has expired.")
	}
	v := r.URL.Query().Get("api-version")
	if v == "" {
		return refusal(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	if _, err := time.Parse("2006-01-02", strings.TrimSuffix(v, "-preview")); err != nil {
		return refusal(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%s' is invalid.", v)
	}
	t, _ := parse(r.URL.Path)
	namespace, kind, _ := strings.Cut(t.kind, "/")
	if known := s.o.Versions[namespace]; len(known) > 0 && !slices.Contains(known, v) {
		return refusal(http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for API version '%s' for type '%s'. The supported api-versions are '%s'.",
			v, kind, strings.Join(known, ", "))
	}
	return nil
}

// An answer is what a request leads to.
type answer struct {
	status int
	body   any
	op     *operation // one that goes on after the answer
	at     string     // path to look at from now on, instead of an operation
	err    *armError
}

func (s *Sim) answer(r *http.Request, body doc) answer {
	if id, ok := strings.CutPrefix(r.URL.Path, operationsPath); ok {
		return s.poll(r, id)
	}
	t, ok := parse(r.URL.Path)
	if !ok {
		return answer{err: refusal(http.StatusNotFound, "NotFound", "The path %s names nothing.", r.URL.Path)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(r.Method, t)
	if e := s.reachable(t, body); e != nil {
		return answer{err: e}
	}
	if t.action != "" && (r.Method != http.MethodGet || getActions[t.action]) {
		return s.act(r, t, body)
	}
	if t.action != "" {
		t.kind, t.list = t.kind+"/"+t.action, true
		if t.kind == "microsoft.resources/resourcegroups/resources" || t.kind == "microsoft.resources/subscriptions/resources" {
			t.kind = ""
		}
	}
	switch {
	case t.list:
		return s.list(r, t)
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return s.get(r, t)
	case r.Method == http.MethodPut, r.Method == http.MethodPatch:
		return s.put(r, t, body)
	case r.Method == http.MethodDelete:
		return s.delete(t)
	}
	return answer{err: refusal(http.StatusMethodNotAllowed, "MethodNotAllowed", "%s", r.Method)}
}

// find returns a resource by its ID, in any case.
func (s *Sim) find(id string) *resource { return s.resources[strings.ToLower(id)] }

// reachable refuses what concerns a region that is down.
func (s *Sim) reachable(t target, body doc) *armError {
	region := body.text("location")
	if res := s.find(t.id); res != nil && res.region != "" {
		region = res.region
	} else if group := s.find(t.group); group != nil && region == "" {
		region = group.region
	}
	if s.down[normal(region)] && (!strings.HasPrefix(t.kind, "microsoft.resources") || t.action != "") {
		e := refusal(http.StatusServiceUnavailable, "ServiceUnavailable", "The service in %s is unavailable.", region)
		e.retry = s.o.RetryAfter
		return e
	}
	return nil
}

// normal writes a region's name as Azure does: without spaces, lower case.
func normal(region string) string { return strings.ToLower(strings.ReplaceAll(region, " ", "")) }

func (s *Sim) get(r *http.Request, t target) answer {
	res := s.find(t.id)
	if res == nil {
		if t.kind == "microsoft.resources/subscriptions" {
			return answer{status: http.StatusOK, body: doc{"id": t.id, "subscriptionId": t.name, "displayName": t.name, "state": "Enabled"}}
		}
		if t.kind == "microsoft.resources/resourcegroups" {
			return answer{err: refusal(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", t.name)}
		}
		if inner := s.inner(t.id); inner != nil {
			return answer{status: http.StatusOK, body: inner}
		}
		return answer{err: notFound(t.id)}
	}
	return answer{status: http.StatusOK, body: s.view(res, strings.Contains(strings.ToLower(r.URL.Query().Get("$expand")), "instanceview"))}
}

// inner is a part of a resource that can be asked for on its own; nil when there is none.
func (s *Sim) inner(id string) any {
	parts := strings.Split(id, "/")
	if len(parts) < 3 {
		return nil
	}
	of := s.find(strings.Join(parts[:len(parts)-2], "/"))
	if of == nil || of.kind != kindNIC || !strings.EqualFold(parts[len(parts)-2], "ipConfigurations") {
		return nil
	}
	for _, c := range of.doc.list("properties.ipConfigurations") {
		if strings.EqualFold(c.text("name"), parts[len(parts)-1]) {
			return c
		}
	}
	return nil
}

// pageSize is how many resources one page of a list holds.
const pageSize = 100

func (s *Sim) list(r *http.Request, t target) answer {
	items := []any{}
	skip, _ := strconv.Atoi(r.URL.Query().Get("$skiptoken"))
	expand := strings.Contains(strings.ToLower(r.URL.Query().Get("$expand")), "instanceview") || r.URL.Query().Get("statusOnly") == "true"
	prefix, seen := strings.ToLower(t.id)+"/", 0
	var next string
	for _, key := range sortedKeys(s.resources) {
		res := s.resources[key]
		matches := res.kind == t.kind || t.kind == "" && !strings.HasPrefix(res.kind, "microsoft.resources/") && strings.Count(res.kind, "/") == 1
		if !matches || !strings.HasPrefix(key, prefix) || !filtered(res, r.URL.Query().Get("$filter")) || s.down[normal(res.region)] {
			continue
		}
		if seen++; seen <= skip {
			continue
		}
		if len(items) == pageSize {
			u := *r.URL
			q := u.Query()
			q.Set("$skiptoken", strconv.Itoa(skip+pageSize))
			u.RawQuery = q.Encode()
			next = "https://" + r.Host + u.RequestURI()
			break
		}
		items = append(items, s.view(res, expand))
	}
	switch t.kind {
	case "microsoft.resources/subscriptions/locations":
		for _, name := range s.o.Regions {
			items = append(items, doc{"id": t.id + "/locations/" + name, "name": name, "displayName": name})
		}
	case "microsoft.authorization/permissions":
		items = []any{doc{"actions": s.o.Actions, "notActions": s.o.NotActions}}
	case "microsoft.compute/locations/usages":
		used := 0
		for _, g := range s.guests {
			if g.allocated {
				used += 2
			}
		}
		items = []any{doc{"currentValue": used, "limit": s.o.Cores, "unit": "Count", "name": doc{"value": "cores", "localizedValue": "Total Regional vCPUs"}}}
	}
	out := doc{"value": items}
	if next != "" {
		out["nextLink"] = next
	}
	return answer{status: http.StatusOK, body: out}
}

// filtered reports whether a resource satisfies a filter by tag: tagName eq 'a' and tagValue eq 'b'.
func filtered(res *resource, filter string) bool {
	if filter == "" {
		return true
	}
	var name, value string
	for term := range strings.SplitSeq(filter, " and ") {
		field, want, ok := strings.Cut(strings.TrimSpace(term), " eq ")
		want = strings.Trim(want, "'")
		switch {
		case !ok:
			return false
		case strings.EqualFold(field, "tagName"):
			name = want
		case strings.EqualFold(field, "tagValue"):
			value = want
		case strings.EqualFold(field, "resourceType"):
			if !strings.EqualFold(want, res.kind) {
				return false
			}
		}
	}
	if name == "" {
		return true
	}
	tags, _ := res.doc["tags"].(map[string]any)
	have, ok := tags[name].(string)
	return ok && (value == "" || have == value)
}

func (s *Sim) write(w http.ResponseWriter, r *http.Request, a answer) {
	if a.err != nil {
		s.refuse(w, a.err)
		return
	}
	if a.op != nil {
		link := "https://" + r.Host + operationsPath + a.op.id + "?api-version=" + url.QueryEscape(r.URL.Query().Get("api-version"))
		w.Header().Set("Azure-AsyncOperation", link)
		if r.Method != http.MethodPut && r.Method != http.MethodPatch {
			w.Header().Set("Location", link+"&monitor=true")
		}
		s.retryAfter(w)
	}
	if a.at != "" {
		w.Header().Set("Location", "https://"+r.Host+a.at+"?api-version="+url.QueryEscape(r.URL.Query().Get("api-version")))
		s.retryAfter(w)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body)
}

func (s *Sim) refuse(w http.ResponseWriter, e *armError) {
	if e.retry > 0 {
		wait(w, e.retry)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("x-ms-error-code", e.code)
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(doc{"error": doc{"code": e.code, "message": e.text}})
}

// retryAfter asks callers to wait before they ask again.
func (s *Sim) retryAfter(w http.ResponseWriter) {
	wait(w, max(s.o.RetryAfter, 5*time.Millisecond))
}

// wait asks a caller to come back: in whole seconds, or in thousandths where they do not tell it.
func wait(w http.ResponseWriter, d time.Duration) {
	if d >= time.Second {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.Seconds())))
		return
	}
	w.Header().Set("Retry-After-Ms", strconv.Itoa(int(d.Milliseconds())))
}

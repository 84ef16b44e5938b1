package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"understudy/internal/api/wire"
)

// A Query selects and sorts a list: filters of the API by name, such as q, site or health.
type Query map[string]string

// Page is where a list is read, and what is there.
type Page struct {
	Limit int    // of elements; 0 is the API's bound
	After string // Next of the page before
	Next  string // set by the answer; empty on the last page
	Total int    // set by the answer: elements on all pages, 0 when that is not told
}

// page reads one page of a list.
func page[T any](ctx context.Context, c *Client, base string, q Query, p *Page) (list []T, err error) {
	values := url.Values{}
	for name, value := range q {
		if value != "" {
			values.Set(name, value)
		}
	}
	if p.Limit > 0 {
		values.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.After != "" {
		values.Set("after", p.After)
	}
	resp, err := c.send(ctx, http.MethodGet, base+"?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("read the controller's answer: %w", err)
	}
	p.Next = resp.Header.Get("X-Next")
	if total := resp.Header.Get("X-Total"); total != "" {
		if p.Total, err = strconv.Atoi(total); err != nil {
			return nil, fmt.Errorf("read the controller's answer: %w", err)
		}
	}
	return list, nil
}

// all reads all pages of a list.
func all[T any](ctx context.Context, c *Client, base string, q Query) (list []T, err error) {
	list = []T{}
	for p := (Page{}); ; p = (Page{After: p.Next}) {
		part, err := page[T](ctx, c, base, q, &p)
		if err != nil {
			return nil, err
		}
		if list = append(list, part...); p.Next == "" {
			return list, nil
		}
	}
}

// Groups lists the groups.
func (c *Client) Groups(ctx context.Context) ([]wire.Group, error) {
	return all[wire.Group](ctx, c, "/v1/groups", nil)
}

// Statuses tells what would be lost now, for every group that a query selects.
func (c *Client) Statuses(ctx context.Context, q Query) ([]wire.Status, error) {
	return all[wire.Status](ctx, c, "/v1/status", q)
}

// StatusPage is one page of Statuses.
func (c *Client) StatusPage(ctx context.Context, q Query, p *Page) ([]wire.Status, error) {
	return page[wire.Status](ctx, c, "/v1/status", q, p)
}

// AllMachines lists the machines of all sites that a query selects.
func (c *Client) AllMachines(ctx context.Context, q Query) ([]wire.MachineRow, error) {
	return all[wire.MachineRow](ctx, c, "/v1/machines", q)
}

package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// A Page is one page of a list.
type Page[T any] struct {
	Items []T
	Next  string // where the next page begins; empty on the last
	Total int    // elements on all pages, 0 when that is not told
}

// page reads one page of a list.
func page[T any](ctx context.Context, c *Client, at string) (p Page[T], err error) {
	resp, err := c.send(ctx, http.MethodGet, at, nil)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&p.Items); err != nil {
		return p, fmt.Errorf("read the controller's answer: %w", err)
	}
	p.Next = resp.Header.Get("X-Next")
	if total := resp.Header.Get("X-Total"); total != "" {
		if p.Total, err = strconv.Atoi(total); err != nil {
			return p, fmt.Errorf("read the controller's answer: %w", err)
		}
	}
	return p, nil
}

// all reads all pages of a list. It gives read what Next of the page before was, at first nothing.
func all[T any](read func(next string) (Page[T], error)) ([]T, error) {
	list := []T{}
	for next := ""; ; {
		p, err := read(next)
		if err != nil {
			return nil, err
		}
		list = append(list, p.Items...)
		if next = p.Next; next == "" {
			return list, nil
		}
	}
}

// number is where a page begins that is found by a number; 0 is the first.
func number(next string) (int64, error) {
	if next == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(next, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the controller's answer: %w", err)
	}
	return n, nil
}

package api

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// listMost bounds a list of which no page was asked for.
const listMost = 10000

// Page is the part of a list that is wanted. It has a capital since huma looks into exported fields only.
type Page struct {
	Limit int    `query:"limit" minimum:"0" maximum:"5000" doc:"At most so many; left out: all, up to 10000"`
	After string `query:"after" maxLength:"1000" doc:"The header X-Next of the page before"`
}

// pageOf is a page of a list.
type pageOf[T any] struct {
	Total string `header:"X-Total" doc:"How many there are on all pages"`
	Next  string `header:"X-Next" doc:"Give it as after to have the next page; left out on the last"`
	Body  []T
}

// paged cuts a page out of a list in the order of key, which is different for each element. A page begins after the key
// of the last element of the one before, not at a number: what comes or goes meanwhile shifts nothing.
func paged[T, W any](list []T, p Page, key func(T) string, one func(T) W) (*pageOf[W], error) {
	after, err := base64.RawURLEncoding.DecodeString(p.After)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity("no page begins there", &huma.ErrorDetail{Location: "query.after", Message: "is no X-Next of an answer"})
	}
	type keyed struct {
		key string
		v   T
	}
	all := make([]keyed, len(list))
	for i, v := range list {
		all[i] = keyed{key(v), v}
	}
	slices.SortFunc(all, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	w := &pageOf[W]{Total: strconv.Itoa(len(all)), Body: []W{}}
	if p.After != "" {
		n, found := slices.BinarySearchFunc(all, string(after), func(k keyed, after string) int { return cmp.Compare(k.key, after) })
		if found {
			n++
		}
		all = all[n:]
	}
	limit := p.Limit
	if limit == 0 {
		limit = listMost
	}
	if len(all) > limit {
		all = all[:limit]
		w.Next = base64.RawURLEncoding.EncodeToString([]byte(all[limit-1].key))
	}
	for _, k := range all {
		w.Body = append(w.Body, one(k.v))
	}
	return w, nil
}

// newestFirst is the key of what is sorted by an instant, the newest first.
func newestFirst(t time.Time, id string) string {
	return fmt.Sprintf("%020d %s", math.MaxInt64-t.UnixNano(), id)
}

// matches reports whether text is in one of some words, whatever the case.
func matches(text string, words ...string) bool {
	if text == "" {
		return true
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(w), text) })
}

// is reports whether a value is the one that is wanted, if one is.
func is(wanted, value string) bool { return wanted == "" || wanted == value }

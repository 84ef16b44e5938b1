package store

// A Scope is what a reader may look at: what is of some groups and, of what is of no group, what is of some sites. It is a
// part of a query, so that a page is full of what the reader may see. A nil scope is everything.
type Scope struct{ Groups, Sites []string }

// groups is the condition that a column names a group of the scope, with its argument.
func (s *Scope) groups(column string) (string, any) {
	return column + " IN (SELECT value FROM json_each(?))", encode(orNone(s.Groups))
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// pair is a key of a mapping and its value.
type pair struct {
	key, value *yaml.Node
	merged     bool // from another mapping, by a merge key
}

// pairs lists the keys of a mapping, and behind them those that it takes from others by the merge key <<
// (https://yaml.org/type/merge.html): the mapping's own keys come before merged ones, and of those the first wins.
func (d *decoder) pairs(node *yaml.Node, path string) []pair {
	var all []pair
	merge := d.own(node, &all, false)
	seen := map[*yaml.Node]bool{node: true} // a mapping may merge itself, or one twice
	for len(merge) > 0 {
		next := merge[0]
		merge = merge[1:]
		if next.Kind == yaml.AliasNode {
			next = next.Alias
		}
		switch {
		case seen[next]:
		case next.Kind == yaml.MappingNode:
			seen[next] = true
			merge = append(d.own(next, &all, true), merge...)
		case next.Kind == yaml.SequenceNode:
			seen[next] = true
			merge = append(append([]*yaml.Node(nil), next.Content...), merge...)
		default:
			d.fail(next, join(path, "<<"), "is %s, but must be a mapping, or a list of mappings, to take keys from", kindName(next))
		}
	}
	return all
}

// own appends the keys of a mapping to all but merge keys, whose values it returns.
func (d *decoder) own(node *yaml.Node, all *[]pair, merged bool) (merge []*yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if isMerge(key) {
			merge = append(merge, value)
		} else {
			*all = append(*all, pair{key, value, merged})
		}
	}
	return merge
}

func isMerge(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" }

// isExtension reports whether a key of the whole file is for anchors alone, and holds nothing that is read.
func isExtension(path, key string) bool { return path == "" && strings.HasPrefix(key, "x-") }

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// FileName is the name of the configuration file in the working directory and in the user's
// configuration directory.
const FileName = "erlmcp.yaml"

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Options says where a configuration comes from.
type Options struct {
	File   string   // the file asked for by --config; "" looks for ./erlmcp.yaml
	Text   []byte   // what is in that file, if it can be read only once, see ReadOnce; nil is to be read
	System string   // the machine's file, which comes last; "" is none
	Dir    string   // what relative paths begin at that stand in no file; "" is the working directory
	Env    []string // KEY=value, as os.Environ returns it
	Flags  []Flag
}

// Flag is a command line flag that overrides one key.
type Flag struct {
	Path  string // "loadtest.target"
	Value string
	Name  string // "--target"
}

// SystemFile is the machine's configuration file.
const SystemFile = "/etc/erlmcp/" + FileName

// Load reads the configuration: flags over environment over the file asked for, or ./erlmcp.yaml, over
// the user's file over the machine's over defaults. It reports all that is wrong, one line each; the errors are *Error
// where they concern a key or a file.
func Load(o Options) (*Config, error) {
	env := environment(o.Env)
	if o.File == "" {
		o.File = env["ERLMCP_CONFIG"]
	}
	c := Default()
	c.dir = o.Dir
	c.origins = make(map[string]Origin)
	var p problems

	for _, file := range []string{o.System, userFile(env)} {
		if file == "" {
			continue
		}
		_, err := c.readFile(file, &p)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		case file == o.System || isOurs(file):
			return nil, err
		default:
			c.Warnings = append(c.Warnings, fmt.Sprintf("%v; it is left out, as it is not this user's", err))
		}
	}
	name := o.File
	if name == "" {
		name = FileName
	}
	name = within(o.Dir, name)
	if o.Text != nil {
		if c.once = o.File; c.once == Stdin {
			c.once = "standard input"
		}
		c.readYAML(c.once, o.Text, &p)
	} else {
		found, err := c.readFile(name, &p)
		switch {
		case err == nil:
			c.File = found
		case o.File != "" || !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	c.readEnv(env, &p)
	for _, f := range o.Flags {
		c.readText(f.Name, f.Path, f.Value, &p)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	c.fill()
	for _, path := range c.paths() {
		if origin, said := c.origins[path.key]; said && *path.value != "" && !filepath.IsAbs(*path.value) {
			p.add(origin, path.key, "%s is a relative path, and the working directory is gone", *path.value)
		}
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// within is a file that is named relative to a directory, which is the working directory if it is "".
func within(dir, name string) string {
	if dir != "" && !filepath.IsAbs(name) {
		return filepath.Join(dir, name)
	}
	return name
}

// isOurs reports whether a file is there, as this user's: then it is this user's to mend.
func isOurs(name string) bool {
	info, err := os.Stat(name)
	return err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid()
}

// Place is where a part of the configuration may come from.
type Place struct {
	What string `json:"what"` // "--config", "working directory", "user" or "machine"
	Path string `json:"path"`
	Read bool   `json:"read"` // it is there, and is read
}

// Places lists the files that Load reads, those that are over others first. Of the file asked for and that of the working
// directory there is one.
func Places(o Options) (list []Place) {
	env := environment(o.Env)
	add := func(what, name string) {
		name = within(o.Dir, name)
		if found, err := filepath.Abs(name); err == nil {
			name = found
		}
		_, err := os.Stat(name)
		list = append(list, Place{what, name, err == nil})
	}
	switch {
	case o.File != "":
		add("--config", o.File)
	case env["ERLMCP_CONFIG"] != "":
		add("ERLMCP_CONFIG", env["ERLMCP_CONFIG"])
	default:
		add("working directory", FileName)
	}
	if user := userFile(env); user != "" {
		add("user", user)
	}
	if o.System != "" {
		add("machine", o.System)
	}
	return list
}

// environment is the environment as a map.
func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, entry := range list {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// userFile is the configuration file of the user, "" when there is no home.
func userFile(env map[string]string) string {
	dir := env["XDG_CONFIG_HOME"]
	if !filepath.IsAbs(dir) {
		if env["HOME"] == "" {
			return ""
		}
		dir = filepath.Join(env["HOME"], ".config")
	}
	return filepath.Join(dir, "erlmcp", FileName)
}

// readFile lays a file over c and returns its absolute name. The error is about the file as a whole;
// what is wrong inside goes to p.
func (c *Config) readFile(name string, p *problems) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", fileError(name, err)
	}
	defer func() { _ = file.Close() }()
	text, err := readLimited(name, file)
	if err != nil {
		return "", err
	}
	c.readYAML(name, text, p)
	found, err := filepath.Abs(name)
	return found, err
}

// fileError says what is wrong with a file, without the name of the system call.
func fileError(name string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// readYAML lays the text of a file over c.
func (c *Config) readYAML(name string, text []byte, p *problems) {
	if document := readDocument(name, text, p); document != nil {
		c.decoder(name, p).value(document.Content[0], reflect.ValueOf(c).Elem(), "")
	}
}

// readDocument reads the one document of a file. It is nil when there is none, for which p may have the reason.
func readDocument(name string, text []byte, p *problems) *yaml.Node {
	whole := Origin{Name: name}
	if len(text) > maxFile {
		p.add(whole, "", "the file is larger than %d bytes", maxFile)
		return nil
	}
	if strings.TrimSpace(string(text)) == "" {
		p.add(whole, "", "the file is empty")
		return nil
	}
	decode := yaml.NewDecoder(strings.NewReader(string(text)))
	var document, second yaml.Node
	if err := decode.Decode(&document); errors.Is(err, io.EOF) {
		return nil // nothing but comments
	} else if err != nil {
		p.addYAML(whole, err)
		return nil
	}
	switch err := decode.Decode(&second); {
	case err == nil:
		p.add(Origin{Name: name, Line: second.Line}, "", "a second document begins here, but only one is read")
		return nil
	case !errors.Is(err, io.EOF):
		p.addYAML(whole, err)
		return nil
	}
	return &document
}

func (c *Config) decoder(name string, p *problems) *decoder {
	return &decoder{name: name, all: leavesOf(reflect.TypeOf(*c), ""), origins: c.origins, problems: p}
}

// readText lays one value, written on a command line or in the environment, over the key at path.
func (c *Config) readText(name, path, text string, p *problems) {
	v, ok := at(reflect.ValueOf(c).Elem(), path)
	if !ok {
		panic("config: " + name + " is bound to " + path + ", which is no key")
	}
	node, err := textNode(text, v.Type())
	if err != nil {
		p.add(Origin{Name: name}, path, "%v", err)
		return
	}
	c.decoder(name, p).value(node, v, path)
}

// textNode is text as a node for a value of type t. A list of scalars is written with commas; any
// list can be written as in YAML, in brackets.
func textNode(text string, t reflect.Type) (*yaml.Node, error) {
	trimmed := strings.TrimSpace(text)
	if t.Kind() != reflect.Slice {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}, nil
	}
	if strings.HasPrefix(trimmed, "[") {
		var document yaml.Node
		if err := yaml.Unmarshal([]byte(trimmed), &document); err != nil {
			return nil, errors.New(yamlText(err))
		}
		withoutLines(&document)
		return document.Content[0], nil
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, item := range strings.FieldsFunc(trimmed, func(r rune) bool { return r == ',' }) {
		list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(item)})
	}
	return list, nil
}

// withoutLines forgets where nodes stand, for text that is not in a file.
func withoutLines(node *yaml.Node) {
	node.Line, node.Column = 0, 0
	for _, child := range node.Content {
		withoutLines(child)
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// addYAML adds an error of the YAML parser, with its line where errors of this package have it.
func (p *problems) addYAML(origin Origin, err error) {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		origin.Line, _ = strconv.Atoi(m[1])
	}
	p.add(origin, "", "%s", yamlText(err))
}

func yamlText(err error) string { return yamlLine.ReplaceAllString(err.Error(), "") }

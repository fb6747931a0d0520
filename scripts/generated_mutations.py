"""Mutations that a program makes of Swift sources: operators, constants, conditions and deleted statements.

There is no parser here. What stands in strings and comments is left alone by a small scanner, an operator is replaced by
one of its own with the same precedence, so that nothing has to be known about what stands beside it, and what then does
not compile is left out by the build.
"""

import random
import re

COMPARISON, EQUALITY, SUM, PRODUCT, SHIFT, BITS, LOGIC, RANGE, ASSIGNMENT = range(9)
# What stands there, what a mutation may put there, and which of the functions below makes both.
OPERATORS = {
    "<": (["<=", ">="], COMPARISON), "<=": (["<", ">"], COMPARISON),
    ">": ([">=", "<="], COMPARISON), ">=": ([">", "<"], COMPARISON),
    "==": (["!="], EQUALITY), "!=": (["=="], EQUALITY),
    "+": (["-"], SUM), "-": (["+"], SUM), "&+": (["&-"], SUM), "&-": (["&+"], SUM),
    "*": (["+"], PRODUCT), "/": (["*"], PRODUCT), "%": (["/"], PRODUCT), "&*": (["&+"], PRODUCT),
    "<<": ([">>"], SHIFT), ">>": (["<<"], SHIFT), "&<<": (["&>>"], SHIFT), "&>>": (["&<<"], SHIFT),
    "&": (["|"], BITS), "|": (["&", "^"], BITS), "^": (["|"], BITS),
    "&&": (["||"], LOGIC), "||": (["&&"], LOGIC), "..<": (["..."], RANGE),
    "+=": (["-="], ASSIGNMENT), "-=": (["+="], ASSIGNMENT), "&+=": (["&-="], ASSIGNMENT), "&-=": (["&+="], ASSIGNMENT),
    "|=": (["&="], ASSIGNMENT), "&=": (["|="], ASSIGNMENT),
}
PRECEDENCE = {
    COMPARISON: "ComparisonPrecedence", EQUALITY: "ComparisonPrecedence", SUM: "AdditionPrecedence",
    PRODUCT: "MultiplicationPrecedence", SHIFT: "BitwiseShiftPrecedence", RANGE: "RangeFormationPrecedence",
    ASSIGNMENT: "AssignmentPrecedence",
}
# OP is the mutation's own operator; BOTH the choice between what a mutation does and what stands there.
FUNCTIONS = {
    COMPARISON: """
func OP<T: Comparable>(a: T, b: T) -> Bool { BOTH }
@_disfavoredOverload func OP<A: BinaryInteger, B: BinaryInteger>(a: A, b: B) -> Bool { BOTH }""",
    EQUALITY: """
func OP<T: Equatable>(a: T, b: T) -> Bool { BOTH }
@_disfavoredOverload func OP<T>(a: T?, b: _OptionalNilComparisonType) -> Bool { BOTH }
@_disfavoredOverload func OP<A: BinaryInteger, B: BinaryInteger>(a: A, b: B) -> Bool { BOTH }""",
    SHIFT: "func OP<A: FixedWidthInteger>(a: A, b: A) -> A { BOTH }\n"
    "@_disfavoredOverload func OP<A: FixedWidthInteger, B: BinaryInteger>(a: A, b: B) -> A { BOTH }",
    BITS: "func OP<T: BinaryInteger>(a: T, b: T) -> T { BOTH }",
    LOGIC: "func OP(a: Bool, b: @autoclosure () throws -> Bool) rethrows -> Bool { try BOTH }",
    RANGE: """
func OP<T: BinaryInteger>(a: T, b: T) -> Range<T> { a..<(isMutant(NUMBER) ? b + 1 : b) }""",
    ASSIGNMENT: "func OP<T: ASSIGNABLE>(a: inout T, b: T) { if isMutant(NUMBER) { a ALTERED b } else { a ORIGINAL b } }",
}
PLACE = re.compile(
    r"(?<= )(?P<operator>&\+=|&-=|&\+|&-|&\*|&<<|&>>|\+=|-=|\|=|&=|<=|>=|==|!=|<<|>>|&&|\|\||[<>+\-*/%&|^])(?= )"
    r"|(?<=[\w)\]])(?P<range>\.\.<)(?=[\w(.])"
    r"|(?<![\w.$#\"])(?P<constant>0x[0-9a-fA-F_]+|\d[\d_]*)(?![\w.]|\s*:)"
    r"|(?<![\w.])(?P<truth>true|false)\b"
    r"|(?P<minimum>(?<![\w.])(?:min|max)(?=\())")
CONDITION = re.compile(r"^(\s*(?:\} else )?(?:if|while|guard) )((?!let |var |case |#|unsafe let |unsafe var )[^,{]+?)((?: else)? \{.*)$")
STATEMENT = re.compile(r"^(\s+)((?:unsafe |try |_ = )*[a-z_][\w.!?]*(?:\(.*\)|(?:\[[^\]]*\])? [-+&|*]?&?[-+]?= .*))$")
# What a program does not need to be right, and lines of declarations.
SKIPPED = re.compile(r"^\s*(?:import |@|precondition|assert|fatalError|#|infix |case .*\bwhere\b)|\bprecondition\(|\bassert\(")


def visible(text):
    """The text with everything in strings and comments blanked, each character in its place."""
    token = re.compile(
        r'"""(?:\\.|(?!""").)*"""|#"(?:(?!"#).)*"#|"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
    return token.sub(lambda match: re.sub(r"[^\n]", "\u00a0", match[0]), text)


class Generated:
    """One change of one line. `apply` gives the line with both in it, chosen by the mutation's number."""

    def __init__(self, path, line, span, kind, original, altered):
        self.path, self.line, self.span, self.kind = path, line, span, kind
        self.original, self.altered = original, altered
        self.number = 0
        self.source = ""

    @property
    def name(self):
        change = f"'{self.original}' → '{self.altered}'" if self.altered else "deleted"
        return f"{self.path}:{self.line + 1}: {change}: {self.source.strip()}"

    @property
    def operator(self):
        # Arrows for hexadecimal digits: whatever the number, it is an operator in Swift.
        return "⊙" + "".join(chr(0x2190 + int(digit, 16)) for digit in f"{self.number:x}")

    def apply(self, line):
        start, end = self.span
        before, text, after = line[:start], line[start:end], line[end:]
        switch = f"isMutant({self.number})"
        if self.kind == "operator":
            return before + self.operator + after
        if self.kind == "value":
            return f"{before}mutated({self.number}, {text}, {self.altered}){after}"
        if self.kind == "minimum":
            return f"{before}({switch} ? {self.altered} : {text}){after}"
        if self.kind == "condition":
            return f"{before}({text}) != {switch}{after}"
        return f"{before}if !{switch} {{ {text} }}{after}"

    def declaration(self):
        """What the mutation's own operator is, for its module."""
        if self.kind != "operator":
            return ""
        group = OPERATORS[self.original][1]
        function = FUNCTIONS.get(group)
        if group in (SUM, PRODUCT):
            wraps = "&" in self.original
            bound = "FixedWidthInteger" if wraps else "AdditiveArithmetic" if group == SUM else "BinaryInteger"
            function = f"func OP<T: {bound}>(a: T, b: T) -> T {{ BOTH }}"
            if group == SUM and not wraps:
                sign = {"+": ("-", ""), "-": ("", "-")}[self.original]
                function += (
                    "\n@_disfavoredOverload func OP<T: Strideable>(a: T, b: T.Stride) -> T "
                    f"{{ isMutant(NUMBER) ? a.advanced(by: {sign[0]}b) : a.advanced(by: {sign[1]}b) }}")
        precedence = {
            "&": "MultiplicationPrecedence", "|": "AdditionPrecedence", "^": "AdditionPrecedence",
            "&&": "LogicalConjunctionPrecedence", "||": "LogicalDisjunctionPrecedence",
        }.get(self.original) or PRECEDENCE[group]
        operands = "a ALTERED b() : a ORIGINAL b()" if group == LOGIC else "a ALTERED b : a ORIGINAL b"
        if group == LOGIC:
            operands = "(a ALTERED (try b())) : (a ORIGINAL (try b()))"
        assignable = "FixedWidthInteger" if "&" in self.original or "|" in self.original else "AdditiveArithmetic"
        for word, meaning in [
            ("OP", self.operator), ("BOTH", f"isMutant(NUMBER) ? {operands}"), ("ASSIGNABLE", assignable),
            ("ALTERED", self.altered), ("ORIGINAL", self.original), ("NUMBER", str(self.number)),
        ]:
            function = function.replace(word, meaning)
        # A named operator's function is its name and a space.
        function = function.replace(f"func {self.operator}", f"func {self.operator} ")
        return f"infix operator {self.operator}: {precedence}\n{function.strip()}\n"


def of_file(path, text, generator):
    """Every place of a file that can be changed, with one change each."""
    lines = text.split("\n")
    masked = visible(text).split("\n")
    for index, (line, shown) in enumerate(zip(lines, masked)):
        if SKIPPED.search(shown):
            continue
        found = []
        for match in PLACE.finditer(shown):
            kind, word = match.lastgroup, match[0]
            if kind in ("operator", "range"):
                found.append((match.span(), "operator", word, generator.choice(OPERATORS[word][0])))
            elif kind == "constant":
                value = int(word.replace("_", ""), 0)
                altered = generator.choice([value + 1, max(value - 1, 0) if value else 1])
                found.append((match.span(), "value", word, str(altered)))
            elif kind == "truth":
                found.append((match.span(), "value", word, "false" if word == "true" else "true"))
            else:
                found.append((match.span(), "minimum", word, "max" if word == "min" else "min"))
        condition = CONDITION.match(shown)
        if condition:
            found.append((condition.span(2), "condition", "condition", "its opposite"))
        statement = STATEMENT.match(shown)
        if statement and balanced(statement[2]) and not continues(masked, index):
            found.append((statement.span(2), "deletion", "statement", ""))
        for span, kind, original, altered in found:
            mutation = Generated(path, index, span, kind, original, altered)
            mutation.source = line
            yield mutation


def balanced(text):
    return all(text.count(a) == text.count(b) for a, b in ["()", "[]", "{}"])


def continues(lines, index):
    """Whether a line is a part of a statement that stands on several."""
    before = next((line.rstrip("\u00a0 ") for line in reversed(lines[:index]) if line.strip("\u00a0 ")), "")
    after = next((line.strip("\u00a0 ") for line in lines[index + 1:] if line.strip("\u00a0 ")), "")
    return (not re.search(r"[{}):;\w\]?!]$", before) or bool(re.search(r"[(\[,=]$", before))
            or bool(re.match(r"[.?:&|+*/=)\]]", after)) or bool(re.search(r"(?:return|=|else|in|\?|:)$", before)) and not before.endswith(" in"))


def sample(sources, count, seed):
    """`count` of all changes that can be made to the sources, a dictionary of texts by path, and how many there are."""
    generator = random.Random(seed)
    every = [m for path in sorted(sources) for m in of_file(path, sources[path], generator)]
    return generator.sample(every, min(count, len(every))), len(every)


def put(text, mutations):
    """A file's text with all of these in it; those that overlap another are left out, and returned as well."""
    lines = text.split("\n")
    left_out = []
    by_line = {}
    for mutation in mutations:
        by_line.setdefault(mutation.line, []).append(mutation)
    for line, here in by_line.items():
        taken = []
        for mutation in sorted(here, key=lambda m: m.span, reverse=True):
            if any(mutation.span[0] < end and start < mutation.span[1] for start, end in taken):
                left_out.append(mutation)
                continue
            taken.append(mutation.span)
            lines[line] = mutation.apply(lines[line])
    return "\n".join(lines), left_out

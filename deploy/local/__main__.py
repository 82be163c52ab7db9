"""`python -m deploy.local COMMAND`: what `deploy/dev` runs once everything is installed."""

import sys

from deploy.local.parser import build_parser


def main(arguments: list[str]) -> int:
    parser = build_parser()
    if arguments[:1] == ["test"] and not {"-h", "--help"} & set(arguments):
        from deploy.local.checks import run_tests

        return run_tests(arguments[1:])
    options = parser.parse_args(arguments)
    match options.command:
        case "lint":
            from deploy.local.checks import lint

            return lint()
        case "bench":
            from deploy.local.checks import bench

            return bench(options.name, options.arguments)
        case "fresh":
            from deploy.local.fresh import fresh

            return fresh()
    from deploy.local import commands

    return commands.run(options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

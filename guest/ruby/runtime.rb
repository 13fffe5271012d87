# frozen_string_literal: true

# The runtime of Ruby functions: gets events from the Runtime API, calls the handler, sends what it returns.

require "json"
require "net/http"
require "stringio"

$stdout.sync = true

# What a handler is given as `context`.
class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name, :memory_limit_in_mb,
              :function_version, :identity, :client_context, :deadline_ms, :tenant_id

  def initialize(headers)
    @deadline_ms = headers["Lambda-Runtime-Deadline-Ms"].to_i
    @aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
    @invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
    @log_group_name = ENV["AWS_LAMBDA_LOG_GROUP_NAME"]
    @log_stream_name = ENV["AWS_LAMBDA_LOG_STREAM_NAME"]
    @function_name = ENV["AWS_LAMBDA_FUNCTION_NAME"]
    @memory_limit_in_mb = ENV["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
    @function_version = ENV["AWS_LAMBDA_FUNCTION_VERSION"]
    @tenant_id = headers["Lambda-Runtime-Aws-Tenant-Id"]
    @identity = parse(headers["Lambda-Runtime-Cognito-Identity"])
    @client_context = parse(headers["Lambda-Runtime-Client-Context"])
  end

  def get_remaining_time_in_millis
    [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
  end

  private

  def parse(header)
    JSON.parse(header) if header && !header.empty?
  end
end

module HanabiRuntime
  FORM = "must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME corresponds with an existing Ruby source file " \
         "FILENAME.rb, CLASS is an optional module/class namespace and METHOD is a callable method. If using CLASS, METHOD must be a " \
         "class-level method."
  TRACE_LIMIT = 100 # frames of an error
  NEVER_S = 86_400 # an environment may be frozen for long between two events

  # The Runtime API, on one connection.
  class Api
    def initialize(address)
      host, port = address.split(":")
      @http = Net::HTTP.new(host, port.to_i, nil)
      @http.read_timeout = @http.keep_alive_timeout = NEVER_S
      @http.max_retries = 0
      @http.start
    end

    def next_invocation
      @http.get("/2018-06-01/runtime/invocation/next")
    end

    def respond(request_id, body, type)
      post("invocation/#{request_id}/response", body, { "Content-Type" => type })
    end

    def fail(request_id, error)
      place = request_id ? "invocation/#{request_id}/error" : "init/error"
      post(place, JSON.generate(error), { "Content-Type" => "application/json", "Lambda-Runtime-Function-Error-Type" => error["errorType"] })
    end

    private

    def post(place, body, headers)
      @http.post("/2018-06-01/runtime/#{place}", body, headers)
    end
  end

  # The function's handler, by its name. Raises whatever its file raises.
  class Handler
    def initialize(name)
      @file, *rest = name.split(".")
      raise ArgumentError, "Invalid handler #{name}, #{FORM}" unless rest.length.between?(1, 2)

      *@namespace, @method = rest
      require @file
    end

    def call(event, context)
      target = @namespace.empty? ? Kernel : Kernel.const_get(@namespace.first)
      target.send(@method, event: event, context: context)
    end
  end

  module_function

  def describe(exception, phase)
    own = File.expand_path(__FILE__)
    trace = (exception.backtrace || []).take_while { |line| !line.start_with?(own) }.first(TRACE_LIMIT)
    { "errorMessage" => exception.message, "errorType" => "#{phase}<#{exception.class}>", "stackTrace" => trace }
  end

  def encode(answer)
    answer.is_a?(StringIO) || answer.is_a?(IO) ? [answer.read, "application/unknown"] : [JSON.generate(answer), "application/json"]
  end

  # Handle one event. Returns whether the process may go on to another one.
  def serve(api, handler, request)
    request_id = request["Lambda-Runtime-Aws-Request-Id"]
    ENV["_X_AMZN_TRACE_ID"] = request["Lambda-Runtime-Trace-Id"] if request["Lambda-Runtime-Trace-Id"]
    begin
      body, type = encode(handler.call(JSON.parse(request.body), LambdaContext.new(request)))
    rescue Exception => e # rubocop:disable Lint/RescueException -- whatever a function raises is its answer
      goes_on = e.is_a?(StandardError) && !e.is_a?(NameError)
      error = describe(e, "Function")
      puts goes_on ? "Error raised from handler method" : "Critical exception from handler", JSON.generate(error)
      api.fail(request_id, error)
      return goes_on
    end
    api.respond(request_id, body, type)
    true
  end

  def run
    Gem.use_paths(Gem.dir, [*Gem.path, *Gem.default_path].uniq) # the AWS SDK is among the root's own gems, GEM_PATH is Lambda's
    api = Api.new(ENV.fetch("AWS_LAMBDA_RUNTIME_API"))
    root = ENV.fetch("LAMBDA_TASK_ROOT")
    $LOAD_PATH.unshift(root) unless $LOAD_PATH.include?(root)
    begin
      handler = Handler.new(ENV.fetch("_HANDLER"))
    rescue Exception => e # rubocop:disable Lint/RescueException -- whatever a function's file raises
      error = describe(e, "Init")
      puts "Init error when loading handler #{ENV.fetch('_HANDLER')}", JSON.generate(error)
      api.fail(nil, error)
      exit!(252)
    end
    nil while serve(api, handler, api.next_invocation)
    exit!(255)
  end
end

HanabiRuntime.run if $PROGRAM_NAME == __FILE__
